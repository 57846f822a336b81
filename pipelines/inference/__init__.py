"""Using trained models: classifying images, exporting."""

from pipelines.inference.classifier import PixelClassifier, choose_checkpoint, load_classifier
from pipelines.inference.predict import Prediction, predict_files

__all__ = ["PixelClassifier", "Prediction", "choose_checkpoint", "load_classifier", "predict_files"]
