// A server of TF Serving's APIs in Node: PredictionService over gRPC, /v1/models over REST.
//
//     node server.js --port=8500 --rest_api_port=8501 --model_name=NAME --model_base_path=FOLDER
//         --binding=FILE --descriptors=FILE
//
// The first four flags are those of tensorflow_model_server; as there, FOLDER holds a SavedModel a
// version and the newest is served. It computes with the native binding of @tensorflow/tfjs-node,
// which loads by TF_LoadSessionFromSavedModel; not with that package's JavaScript, which knows no
// int64. Protocol buffers are read by the descriptors that Python has of them. For tests: one
// request at a time, float, int64 and string tensors, and in JSON "5" passes for 5.
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');
const { parseArgs } = require('util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const names = ['port', 'rest_api_port', 'model_name', 'model_base_path', 'binding', 'descriptors'];
const flags = parseArgs({
  options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])),
}).values;
const protos = protoLoader.loadFileDescriptorSetFromBuffer(fs.readFileSync(flags.descriptors), {
  keepCase: true,
  longs: String, // all 64 bits
  defaults: true,
});
const tf = require(flags.binding);

const FLOAT = 1;
const STRING = 7;
const INT64 = 9;
const FIELD = { [FLOAT]: 'float_val', [STRING]: 'string_val', [INT64]: 'int64_val' };
const DTYPE = { DT_FLOAT: FLOAT, DT_STRING: STRING, DT_INT64: INT64 };

class Refused extends Error {
  constructor(message, missing = false) {
    super(message);
    this.grpc = missing ? grpc.status.NOT_FOUND : grpc.status.INVALID_ARGUMENT;
    this.http = missing ? 404 : 400;
  }
}

// From descriptors, protobufjs makes a map a list of {key, value}.
const fromMap = (entries, change = (value) => value) =>
  Object.fromEntries(entries.map(({ key, value }) => [key, change(value)]));
const toMap = (object, change) =>
  Object.entries(object).map(([key, value]) => ({ key, value: change(value) }));

const size = (shape) => shape.reduce((product, n) => product * n, 1);

// A tensor here is {dtype, shape, values}: numbers, BigInts or Buffers, row by row.

function fromProto(proto) {
  const dtype = proto.dtype;
  if (!FIELD[dtype]) throw new Refused(`cannot take a tensor of type ${dtype}`);
  const shape = proto.tensor_shape.dim.map((dim) => Number(dim.size));
  const content = Uint8Array.from(proto.tensor_content).buffer; // aligned
  if (content.byteLength) {
    const values = dtype === FLOAT ? new Float32Array(content) : new BigInt64Array(content);
    return { dtype, shape, values };
  }
  const given = proto[FIELD[dtype]].map(dtype === INT64 ? BigInt : (value) => value);
  const last = given.length - 1; // it stands for all that would follow
  const values = Array.from({ length: size(shape) }, (_, i) => given[Math.min(i, last)]);
  return { dtype, shape, values };
}

function toProto({ dtype, shape, values }) {
  const list = Array.from(values, dtype === INT64 ? String : Number);
  return { dtype, tensor_shape: { dim: shape.map((n) => ({ size: n })) }, [FIELD[dtype]]: list };
}

// JSON as TF Serving reads it: with NaN and infinities, and with integers of 64 bits. Numbers are
// put into quotes, for the input's type to say what they are.
function parseJson(text) {
  const token = /"(?:\\.|[^"\\])*"|-?(?:NaN|Infinity|\d[\d.eE+-]*)/g;
  return JSON.parse(text.replace(token, (found) => (found[0] === '"' ? found : `"${found}"`)));
}

const VALUE = {
  [FLOAT]: Number,
  [INT64]: BigInt,
  [STRING]: (x) => (x.b64 === undefined ? Buffer.from(x) : Buffer.from(x.b64, 'base64')),
};

function fromJson(dtype, nested) {
  const shape = [];
  for (let part = nested; Array.isArray(part); part = part[0]) shape.push(part.length);
  const flat = Array.isArray(nested) ? nested.flat(Infinity) : [nested];
  if (flat.length !== size(shape) || flat.some((x) => x === undefined || x === null)) {
    throw new Refused('an input lacks values, or has rows of different lengths');
  }
  return { dtype, shape, values: flat.map(VALUE[dtype]) };
}

function toJson({ shape, values }) {
  const inRows = (flat, n) =>
    Array.from({ length: flat.length / n }, (_, i) => flat.slice(i * n, (i + 1) * n));
  return shape.slice(1).reduceRight(inRows, Array.from(values, Number));
}

class Model {
  constructor(folder) {
    const saved = protos['tensorflow.SavedModel'].deserialize(
      fs.readFileSync(path.join(folder, 'saved_model.pb')));
    const graph = saved.meta_graphs.find((each) => each.meta_info_def.tags.includes('serve'));
    this.version = path.basename(folder);
    this.definitions = graph.signature_def.filter(({ value }) =>
      value.method_name.endsWith('/predict'));
    this.signatures = fromMap(this.definitions, ({ inputs, outputs }) => ({
      inputs: fromMap(inputs),
      outputs: fromMap(outputs),
    }));
    this.id = tf.loadSavedModel(folder, 'serve');
  }

  signature(name) {
    const found = this.signatures[name || 'serving_default'];
    if (!found) throw new Refused(`no signature ${name}`);
    return found;
  }

  // {input: tensor} -> {output: tensor}, of all outputs or those in `wanted`.
  predict(signature, inputs, wanted = []) {
    const { inputs: known, outputs } = this.signature(signature);
    const given = Object.keys(known);
    if (String(given.sort()) !== String(Object.keys(inputs).sort())) {
      throw new Refused(`${signature} takes ${given}, not ${Object.keys(inputs)}`);
    }
    const asked = wanted.length ? wanted : Object.keys(outputs);
    const unknown = asked.filter((name) => !outputs[name]);
    if (unknown.length) throw new Refused(`${signature} has no output ${unknown}`);
    const ids = given.map((name) => {
      const { dtype, shape, values } = inputs[name];
      if (dtype === STRING) return tf.createTensor(shape, dtype, Array.from(values));
      // The binding wants an int64 as two int32.
      const whole = dtype === INT64 && BigInt64Array.from(values).buffer;
      const data = whole ? new Int32Array(whole) : Float32Array.from(values);
      return tf.createTensor(shape, dtype, data);
    });
    try {
      const inGraph = (infos, keys) => keys.map((key) => infos[key].name).join(',');
      const [feeds, fetches] = [inGraph(known, given), inGraph(outputs, asked)];
      const found = tf.runSavedModel(this.id, ids, feeds, fetches);
      return Object.fromEntries(found.map(({ id, dtype, shape }, i) => {
        const values = tf.tensorDataSync(id);
        tf.deleteTensor(id);
        return [asked[i], { dtype, shape, values }];
      }));
    } finally {
      ids.forEach((id) => tf.deleteTensor(id));
    }
  }

  // The body of a :predict request, rows ("instances") or columns ("inputs"), and its answer.
  predictJson({ signature_name: signature = 'serving_default', instances, inputs }) {
    const { inputs: infos } = this.signature(signature);
    const named = (x) => typeof x === 'object' && !Array.isArray(x) && x.b64 === undefined;
    const column = (name) => {
      if (!instances) return named(inputs) ? inputs[name] : inputs;
      return instances.map((row) => (named(row) ? row[name] : row));
    };
    const asked = Object.entries(infos).map(([name, { dtype }]) =>
      [name, fromJson(DTYPE[dtype] || dtype, column(name))]);
    const found = Object.entries(this.predict(signature, Object.fromEntries(asked)));
    const outputs = found.map(([name, tensor]) => [name, toJson(tensor)]);
    // A single output goes without its name.
    const single = found.length === 1 && outputs[0][1];
    if (!instances) return { outputs: single || Object.fromEntries(outputs) };
    const row = (i) => Object.fromEntries(outputs.map(([name, values]) => [name, values[i]]));
    return { predictions: single || instances.map((_, i) => row(i)) };
  }
}

const versions = fs.readdirSync(flags.model_base_path).filter((name) => /^\d+$/.test(name));
const newest = String(Math.max(...versions.map(Number)));
const model = new Model(path.join(flags.model_base_path, newest));

function check(name, version) {
  if (name !== flags.model_name || (version && version !== model.version)) {
    throw new Refused(`Servable not found for request: ${name} ${version || ''}`, true);
  }
}

// A gRPC method: gets the request and its model_spec, gives the answer.
const unary = (answer) => (call, done) => {
  const { name, signature_name, version } = call.request.model_spec;
  try {
    check(name, version && version.value);
    const spec = { name, signature_name, version: { value: model.version } };
    done(null, { model_spec: spec, ...answer(call.request, signature_name || 'serving_default') });
  } catch (error) {
    done({ code: error.grpc || grpc.status.INTERNAL, details: error.message });
  }
};

const metadata = () => ({
  type_url: 'type.googleapis.com/tensorflow.serving.SignatureDefMap',
  value: protos['tensorflow.serving.SignatureDefMap'].serialize({
    signature_def: model.definitions,
  }),
});
const methods = {
  Predict: unary(({ inputs, output_filter: wanted }, signature) => ({
    outputs: toMap(model.predict(signature, fromMap(inputs, fromProto), wanted), toProto),
  })),
  GetModelMetadata: unary(() => ({ metadata: toMap({ signature_def: {} }, metadata) })),
};

async function rest(request) {
  const found = /^\/v1\/models\/([^/:]+)(?:\/versions\/(\d+))?(:predict)?$/.exec(request.url);
  if (!found || (request.method === 'POST') !== Boolean(found[3])) {
    throw new Refused('no such page', true);
  }
  check(found[1], found[2]);
  if (!found[3]) {
    const status = { error_code: 'OK', error_message: '' };
    return { model_version_status: [{ version: model.version, state: 'AVAILABLE', status }] };
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return model.predictJson(parseJson(Buffer.concat(chunks).toString()));
}

const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
server.addService(protos['tensorflow.serving.PredictionService'], methods);
server.bindAsync(`127.0.0.1:${flags.port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  const listener = http.createServer(async (request, response) => {
    let [status, answer] = [200, null];
    try {
      answer = await rest(request);
    } catch (failure) {
      status = failure.http || (failure instanceof SyntaxError ? 400 : 500);
      answer = { error: failure.message };
    }
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
  });
  listener.listen(Number(flags.rest_api_port), '127.0.0.1');
});
