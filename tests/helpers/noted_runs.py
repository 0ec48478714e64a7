"""A run's folder with ML metadata as TFX writes them, without TFX."""

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

COMPLETE, FAILED, CACHED = mlmd.Execution.COMPLETE, mlmd.Execution.FAILED, mlmd.Execution.CACHED


class Noted:
    """The folder and the executions in it; it was elsewhere when they ran."""

    def __init__(self, folder):
        self.folder = folder
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(folder / "metadata.sqlite")
        self.store = MetadataStore(config)

    def ended(self, component, state, took, gave):
        """Notes an execution; took and gave: key -> folder."""
        name = f"ncs4cvr.components.{component.lower()}.{component}"
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=name))
        noted = []
        for kind, artifacts in ((mlmd.Event.INPUT, took), (mlmd.Event.OUTPUT, gave)):
            for key, folder in artifacts.items():
                of = self.store.put_artifact_type(mlmd.ArtifactType(name=key))
                event = mlmd.Event(type=kind)
                event.path.steps.add().key = key
                event.path.steps.add().index = 0
                artifact = mlmd.Artifact(type_id=of, uri=f"/elsewhere{folder}")
                noted.append((artifact, event))
        execution = mlmd.Execution(type_id=type_id, last_known_state=state)
        self.store.put_execution(execution, noted, [])
