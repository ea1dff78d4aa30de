"""Where the files of a pipeline are: one place that knows the folder names."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The folders of one pipeline."""

    recordings: Path
    windows: Path
    features: Path
    models: Path
    exports: Path
    reports: Path
    checkpoints: Path  # outside of every DVC output: DVC empties those before it runs a stage


@dataclass(frozen=True)
class Layout:
    """The folders below one root: the checkout, or a scratch folder of a smoke run.

    Attributes:
        root: Folder that holds data/, models/, exports/ and reports/.
        project: The checkout, which holds params.yaml, devices/ and data/raw/; `root` unless this is a scratch run.
    """

    root: Path
    project: Path

    def of(self, pipeline: str) -> Paths:
        """The folders of `pipeline`."""
        return Paths(
            recordings=self.root / "data" / "recordings" / pipeline,
            windows=self.root / "data" / "windows" / pipeline,
            features=self.root / "data" / "features" / pipeline,
            models=self.root / "models" / pipeline,
            exports=self.root / "exports" / pipeline,
            reports=self.root / "reports" / pipeline,
            checkpoints=self.root / ".foresense" / "checkpoints" / pipeline,
        )

    @property
    def raw(self) -> Path:
        """Folder of the fetched raw data sets."""
        return self.project / "data" / "raw"

    @property
    def devices(self) -> Path:
        """Folder of the device descriptions."""
        return self.project / "devices"

    @property
    def cache(self) -> Path:
        """Machine-local facts worth keeping (calibrations, locks); never a DVC output."""
        return self.root / ".foresense"

    @property
    def tracking(self) -> Path:
        """Folder of the local MLflow store."""
        return self.root / "mlflow"
