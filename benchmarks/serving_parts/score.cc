// Loads SavedModels through TensorFlow's C API, answers requests and takes the time of it.
//
//     score PLAN
//
// TF_LoadSessionFromSavedModel loads as TF Serving does: it restores the variables and runs the
// initialiser with the paths of the assets. No Python is in this process.
//
// PLAN is a text file; a line is a word and its arguments, separated by tabs:
//
//     threads INTRA INTER       of the process; 0 leaves it to TensorFlow. Before the first model
//     model FOLDER              loads a SavedModel; models count from 0
//     case MODEL CALLS          a request, made CALLS times in a row in every round
//     feed TENSOR FILE          an input of the last case, such as serving_default_examples:0
//     fetch TENSOR FILE         an output of the last case, and where its first answer is written
//     rounds WARMUP ROUNDS      the untimed and the timed rounds
//     report FILE               where the measurements go
//
// First every case is answered once. Then come the rounds, each with every case in an order drawn
// anew, so that all cases meet what else the machine does and each other's traces in the caches.
//
// A tensor's file is a line such as "float32 3 2" (type and shape), then the values, little-endian
// and row by row. Strings: all lengths as int64, then all bytes.
//
// The report is text as well, tabs between:
//
//     load MODEL SECONDS        restoring and initialising included
//     memory WHEN RSS PEAK      KiB; WHEN is start, loaded (all models) or end
//     seconds CASE S S S...     of each call; a line per case and timed round
//
// Exit status 1 and a line on stderr: something is wrong, and what.

#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Words = std::vector<std::string>;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

// A TF_Status that throws where it is not OK.
class Status {
 public:
  Status() : held_(TF_NewStatus()) {}
  Status(const Status&) = delete;
  ~Status() { TF_DeleteStatus(held_); }
  TF_Status* get() { return held_; }
  void check(const std::string& doing) const {
    if (TF_GetCode(held_) != TF_OK) fail(doing + ": " + TF_Message(held_));
  }

 private:
  TF_Status* held_;
};

const std::pair<std::string, TF_DataType> kTypes[] = {
    {"float32", TF_FLOAT}, {"int64", TF_INT64}, {"string", TF_STRING}};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void fill_strings(TF_TString* to, size_t count, const std::string& data, const std::string& path) {
  std::vector<int64_t> lengths(count);
  const size_t heads = count * sizeof(int64_t);
  if (data.size() < heads) fail(path + " is too short");
  std::memcpy(lengths.data(), data.data(), heads);
  const size_t bytes = std::accumulate(lengths.begin(), lengths.end(), size_t{0});
  if (data.size() != heads + bytes) fail(path + " does not hold the bytes that it announces");
  const char* next = data.data() + heads;
  for (size_t i = 0; i < count; next += lengths[i++]) {
    TF_StringInit(&to[i]);
    TF_StringCopy(&to[i], next, lengths[i]);
  }
}

TF_Tensor* read_tensor(const std::string& path) {
  const std::string file = read_file(path);
  const size_t line = std::min(file.find('\n'), file.size());
  std::istringstream head(file.substr(0, line));
  std::string name;
  head >> name;
  const std::vector<int64_t> shape(std::istream_iterator<int64_t>(head), {});
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const auto& each) { return each.first == name; });
  if (type == std::end(kTypes)) fail(path + " holds " + name + "; known: float32, int64, string");
  const size_t count =
      std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<size_t>());
  const std::string data = file.substr(std::min(line + 1, file.size()));
  const bool strings = type->second == TF_STRING;
  const size_t size = count * (strings ? sizeof(TF_TString) : TF_DataTypeSize(type->second));
  if (!strings && data.size() != size) {
    fail(path + " has " + std::to_string(data.size()) + " bytes of values, its shape wants " +
         std::to_string(size));
  }
  TF_Tensor* tensor = TF_AllocateTensor(type->second, shape.data(), shape.size(), size);
  if (strings) {
    fill_strings(static_cast<TF_TString*>(TF_TensorData(tensor)), count, data, path);
  } else {
    std::memcpy(TF_TensorData(tensor), data.data(), size);
  }
  return tensor;
}

void write_tensor(const std::string& path, const TF_Tensor* tensor) {
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& each) {
    return each.second == TF_TensorType(tensor);
  });
  if (type == std::end(kTypes) || type->second == TF_STRING) {
    fail("an output is neither float32 nor int64");
  }
  std::ofstream out(path, std::ios::binary);
  out << type->first;
  for (int i = 0; i < TF_NumDims(tensor); ++i) out << ' ' << TF_Dim(tensor, i);
  out << '\n';
  out.write(static_cast<const char*>(TF_TensorData(tensor)), TF_TensorByteSize(tensor));
  if (!out.flush()) fail("cannot write " + path);
}

struct Model {
  TF_Session* session;
  TF_Graph* graph;
};

// A serialized ConfigProto: fields 2 and 5, each a tag byte and a varint.
std::string threads_config(uint64_t intra, uint64_t inter) {
  std::string bytes;
  for (auto [tag, value] : {std::pair<char, uint64_t>{2 << 3, intra}, {5 << 3, inter}}) {
    bytes += tag;
    for (; value > 127; value >>= 7) bytes += static_cast<char>(value | 128);
    bytes += static_cast<char>(value);
  }
  return bytes;
}

Model load(const std::string& folder, const std::string& config) {
  Status status;
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_SetConfig(options, config.data(), config.size(), status.get());
  status.check("threads");
  TF_Graph* graph = TF_NewGraph();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, nullptr, folder.c_str(), tags, 1,
                                                     graph, nullptr, status.get());
  status.check("loading " + folder);
  TF_DeleteSessionOptions(options);
  return {session, graph};
}

struct Case {
  Model model;
  int calls;
  std::vector<TF_Output> inputs = {}, outputs = {};
  std::vector<TF_Tensor*> fed = {};
  Words files = {};  // of the outputs
};

TF_Output find(const Model& model, const std::string& tensor) {
  const size_t colon = tensor.rfind(':');
  if (colon == std::string::npos) fail("a tensor is called name:index, not " + tensor);
  TF_Operation* operation =
      TF_GraphOperationByName(model.graph, tensor.substr(0, colon).c_str());
  if (operation == nullptr) fail("the graph has no " + tensor);
  return {operation, std::stoi(tensor.substr(colon + 1))};
}

// Seconds that the call took; hands the outputs to `use` when the clock has stopped.
template <typename Use>
double call(const Case& c, Use use) {
  Status status;
  std::vector<TF_Tensor*> answers(c.outputs.size());
  const auto start = std::chrono::steady_clock::now();
  TF_SessionRun(c.model.session, nullptr, c.inputs.data(), c.fed.data(), c.inputs.size(),
                c.outputs.data(), answers.data(), c.outputs.size(), nullptr, 0, nullptr,
                status.get());
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  status.check("scoring");
  for (size_t i = 0; i < answers.size(); ++i) {
    use(i, answers[i]);
    TF_DeleteTensor(answers[i]);
  }
  return taken.count();
}

std::string memory(const std::string& when) {
  std::istringstream status(read_file("/proc/self/status"));
  std::string word, rss = "0", peak = "0";
  while (status >> word) {
    if (word == "VmRSS:") status >> rss;
    if (word == "VmHWM:") status >> peak;
  }
  return "memory\t" + when + '\t' + rss + '\t' + peak + '\n';
}

struct Plan {
  std::vector<Model> models;
  std::vector<Case> cases;
  int warmup = 0, rounds = 0;
  std::string report_file = "/dev/stdout";
};

// Does a line of the plan; models are loaded at once.
void follow(const Words& line, Plan& plan, std::string& config, std::ostream& report) {
  const auto word = [&](size_t i) {
    if (i >= line.size()) fail("too few words after " + line[0]);
    return line[i];
  };
  const std::string& order = line[0];
  if ((order == "feed" || order == "fetch") && plan.cases.empty()) fail(order + " before a case");
  if (order == "threads") {
    config = threads_config(std::stoll(word(1)), std::stoll(word(2)));
  } else if (order == "model") {
    const auto start = std::chrono::steady_clock::now();
    plan.models.push_back(load(word(1), config));
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    report << "load\t" << plan.models.size() - 1 << '\t' << taken.count() << '\n';
  } else if (order == "case") {
    plan.cases.push_back({plan.models.at(std::stoul(word(1))), std::stoi(word(2))});
  } else if (order == "feed") {
    plan.cases.back().inputs.push_back(find(plan.cases.back().model, word(1)));
    plan.cases.back().fed.push_back(read_tensor(word(2)));
  } else if (order == "fetch") {
    plan.cases.back().outputs.push_back(find(plan.cases.back().model, word(1)));
    plan.cases.back().files.push_back(word(2));
  } else if (order == "rounds") {
    plan.warmup = std::stoi(word(1));
    plan.rounds = std::stoi(word(2));
  } else if (order == "report") {
    plan.report_file = word(1);
  } else {
    fail("unknown word: " + order);
  }
}

void run(const std::string& plan_file) {
  std::ostringstream report;
  report.precision(9);
  report << memory("start");
  Plan plan;
  std::string config;
  std::istringstream lines(read_file(plan_file));
  for (std::string line; std::getline(lines, line);) {
    Words words;
    std::istringstream parts(line);
    for (std::string part; std::getline(parts, part, '\t');) words.push_back(part);
    if (!words.empty()) follow(words, plan, config, report);
  }
  report << memory("loaded");
  for (const Case& c : plan.cases) {
    call(c, [&](size_t i, const TF_Tensor* answer) { write_tensor(c.files[i], answer); });
  }
  std::vector<size_t> order(plan.cases.size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 dice(1);
  for (int round = -plan.warmup; round < plan.rounds; ++round) {
    std::shuffle(order.begin(), order.end(), dice);
    for (size_t i : order) {
      std::ostringstream seconds;
      seconds.precision(9);
      for (int k = 0; k < plan.cases[i].calls; ++k) {
        seconds << '\t' << call(plan.cases[i], [](size_t, const TF_Tensor*) {});
      }
      if (round >= 0) report << "seconds\t" << i << seconds.str() << '\n';
    }
  }
  report << memory("end");
  std::ofstream out(plan.report_file);
  out << report.str();
  if (!out.flush()) fail("cannot write " + plan.report_file);
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count != 2) fail("usage: score PLAN");
    run(words[1]);
  } catch (const std::exception& error) {
    std::cerr << "score: " << error.what() << std::endl;
    return 1;
  }
}
