"""Transfer learning on TensorFlow and Keras 3, as an application kit.

The steps of a recipe, and the types that they take and return, are the names here. Each is imported when it is first
used: `import kerastl` imports neither TensorFlow nor Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {  # public name: the module that defines it; the block for type checkers below lists the same names
    "ablate": "kerastl.studies.ablation",
    "Ablation": "kerastl.versions.sections",
    "apply_runtime": "kerastl.runtime",
    "as_main": "kerastl.shell.process",
    "audit_privacy": "kerastl.audit.privacy",
    "Backbone": "kerastl.backbones",
    "Baseline": "kerastl.evaluation.baseline",
    "baseline": "kerastl.evaluation.baseline",
    "best_head": "kerastl.studies.search",
    "by_folder": "kerastl.studies.few_shot.episodes",
    "cache_dir": "kerastl.features.cache",
    "cache_info": "kerastl.shell.listing",
    "CacheInfo": "kerastl.shell.listing",
    "Calibration": "kerastl.decision",
    "Capacity": "kerastl.server.capacity",
    "check": "kerastl.audit.check",
    "check_parser": "kerastl.dependencies.fit",
    "check_tagger": "kerastl.tagging.fit",
    "check_target": "kerastl.evaluation.targets",
    "CheckFailed": "kerastl.errors",
    "CheckResult": "kerastl.audit.check",
    "Classifier": "kerastl.serving.classifier",
    "classify_images": "kerastl.pipelines",
    "classify_texts": "kerastl.pipelines",
    "compare": "kerastl.studies.compare.study",
    "compare_versions": "kerastl.serving.evaluate_model",
    "Comparison": "kerastl.studies.compare.study",
    "compute_features": "kerastl.features.compute",
    "compute_states": "kerastl.tokens.states",
    "ConfiguredHead": "kerastl.heads",
    "DataError": "kerastl.errors",
    "detect_unknown": "kerastl.studies.rejection",
    "diagnose": "kerastl.rerun.diagnosis",
    "divide_classes": "kerastl.studies.few_shot.episodes",
    "Drift": "kerastl.audit.drift",
    "drift": "kerastl.report.drift",
    "evaluate": "kerastl.evaluation.metrics",
    "evaluate_few_shot": "kerastl.studies.few_shot.comparison",
    "evaluate_model": "kerastl.serving.evaluate_model",
    "evaluate_parser": "kerastl.dependencies.evaluation",
    "evaluate_tagger": "kerastl.tagging.evaluate",
    "EvaluateResult": "kerastl.serving.evaluate_model",
    "Evaluation": "kerastl.evaluation.result",
    "Examination": "kerastl.doctor.examine",
    "Examples": "kerastl.data.examples",
    "explain": "kerastl.report.explain",
    "ExplainResult": "kerastl.serving.explain",
    "export_again": "kerastl.report.reexport",
    "export_tflite": "kerastl.export.tflite_files",
    "Features": "kerastl.features.compute",
    "FeatureTable": "kerastl.features.table",
    "fetch_weights": "kerastl.backbones",
    "few_shot_summary": "kerastl.report.few_shot",
    "few_shot_task": "kerastl.studies.few_shot.episodes",
    "FewShotRecord": "kerastl.report.few_shot",
    "find_label_errors": "kerastl.audit.label_errors",
    "find_near_duplicates": "kerastl.data.near_duplicates.search",
    "fine_tune": "kerastl.training.fine_tuning.fine_tune",
    "FineTuneResult": "kerastl.training.fine_tuning.result",
    "fit": "kerastl.training.fit",
    "fit_length": "kerastl.features.lengths",
    "fit_parser": "kerastl.dependencies.fit",
    "fit_private": "kerastl.privacy.fit",
    "fit_tagger": "kerastl.tagging.fit",
    "FitOptions": "kerastl.tokens.fit",
    "FittedHead": "kerastl.training.fit",
    "FittedParser": "kerastl.dependencies.fit",
    "FittedTagger": "kerastl.tagging.fit",
    "Head": "kerastl.heads",
    "HeadLike": "kerastl.heads",
    "ImageConfig": "kerastl.shell.flags",
    "isolated": "kerastl.inputs.isolation",
    "KerastlError": "kerastl.errors",
    "label_next": "kerastl.studies.label_next.propose",
    "LabelError": "kerastl.audit.label_errors",
    "LabelErrors": "kerastl.audit.label_errors",
    "LabelNextResult": "kerastl.studies.label_next.result",
    "learn_few_shot": "kerastl.studies.few_shot.comparison",
    "learning_curve": "kerastl.studies.learning_curve.study",
    "learning_curve_of": "kerastl.studies.learning_curve.of_source",
    "LearningCurve": "kerastl.versions.learning_curve",
    "lesson": "kerastl.studies.distillation",
    "list_backbones": "kerastl.shell.listing",
    "list_heads": "kerastl.shell.listing",
    "list_models": "kerastl.versions.listing",
    "list_recipes": "kerastl.shell.listing",
    "load": "kerastl.serving.classifier",
    "load_backbone": "kerastl.backbones",
    "load_encoder": "kerastl.tokens.states",
    "load_tagger": "kerastl.tagging.model",
    "load_teacher": "kerastl.studies.distillation",
    "measure_capacity": "kerastl.report.capacity",
    "ModelError": "kerastl.errors",
    "ModelList": "kerastl.versions.listing",
    "ModelVersion": "kerastl.versions.listing",
    "near_duplicate_effect": "kerastl.studies.near_duplicates",
    "OptionError": "kerastl.errors",
    "Parity": "kerastl.versions.sections",
    "Parser": "kerastl.dependencies.model",
    "parser_summary": "kerastl.dependencies.report",
    "ParserEvaluation": "kerastl.dependencies.evaluation",
    "ParsingRecord": "kerastl.dependencies.record",
    "pooling_for": "kerastl.model",
    "predict_inputs": "kerastl.serving.batch",
    "Prediction": "kerastl.serving.predictions",
    "Predictions": "kerastl.decision",
    "PredictResult": "kerastl.serving.batch",
    "PrivacyAudit": "kerastl.audit.privacy",
    "PrivacyOptions": "kerastl.privacy.options",
    "PrivateFit": "kerastl.privacy.fit",
    "read_images": "kerastl.data.images",
    "read_sentences": "kerastl.tokens.read",
    "read_texts": "kerastl.data.texts",
    "ReadOptions": "kerastl.data.options",
    "Rejection": "kerastl.evaluation.rejection",
    "reproduce": "kerastl.rerun.reproduce",
    "ReproduceResult": "kerastl.rerun.reproduce",
    "resolve_head": "kerastl.heads",
    "run": "kerastl.shell.process",
    "RunConfig": "kerastl.shell.flags",
    "RunRecord": "kerastl.versions.record",
    "Runtime": "kerastl.runtime",
    "search_heads": "kerastl.studies.search",
    "Sentence": "kerastl.tokens.sentences",
    "serve": "kerastl.server.serve",
    "ServerResult": "kerastl.server.server",
    "Skipped": "kerastl.data.examples",
    "splice": "kerastl.model",
    "Split": "kerastl.data.examples",
    "split": "kerastl.data.split",
    "split_sentences": "kerastl.tokens.split",
    "Stopwatch": "kerastl.runtime",
    "TaggedSentence": "kerastl.tagging.model",
    "Tagger": "kerastl.tagging.model",
    "tagging_summary": "kerastl.shell.tagging",
    "TaggingEvaluation": "kerastl.tagging.evaluate",
    "TaggingRecord": "kerastl.tagging.record",
    "Target": "kerastl.report.version",
    "target": "kerastl.report.version",
    "teach": "kerastl.studies.distillation",
    "Teacher": "kerastl.studies.distillation",
    "TextConfig": "kerastl.shell.flags",
    "TFLiteFiles": "kerastl.export.tflite_files",
    "TokenEncoder": "kerastl.tokens.states",
    "TokenExamples": "kerastl.tokens.sentences",
    "TokenStates": "kerastl.tokens.states",
    "train": "kerastl.training.train",
    "TrainedModel": "kerastl.training.train",
    "TrainingOptions": "kerastl.training.options",
    "Trial": "kerastl.versions.sections",
    "TuningOptions": "kerastl.training.fine_tuning.plan",
    "untrained": "kerastl.tokens.states",
    "verify": "kerastl.export.verify",
    "VerifyResult": "kerastl.export.verify",
    "VersionComparison": "kerastl.versions.version_comparison",
    "WeightsError": "kerastl.errors",
    "write_evaluation_page": "kerastl.report.evaluation_page",
    "write_features": "kerastl.features.table",
    "write_few_shot": "kerastl.report.few_shot",
    "write_label_next": "kerastl.report.label_next",
    "write_mediapipe": "kerastl.export.mediapipe",
    "write_parser": "kerastl.dependencies.write",
    "write_private_version": "kerastl.report.private_version",
    "write_tagger": "kerastl.tagging.write",
    "write_version": "kerastl.report.version",
}
_OTHER_NAMES = {"apply_runtime": "apply", "cache_dir": "chosen_dir", "load_backbone": "load"}  # there

__all__ = [
    "__version__", "ablate", "Ablation", "apply_runtime", "as_main", "audit_privacy", "Backbone", "Baseline",
    "baseline", "best_head", "by_folder", "cache_dir", "cache_info", "CacheInfo", "Calibration", "Capacity", "check",
    "check_parser", "check_tagger", "check_target", "CheckFailed", "CheckResult", "Classifier", "classify_images",
    "classify_texts", "compare", "compare_versions", "Comparison", "compute_features", "compute_states",
    "ConfiguredHead", "DataError", "detect_unknown", "diagnose", "divide_classes", "Drift", "drift", "evaluate",
    "evaluate_few_shot", "evaluate_model", "evaluate_parser", "evaluate_tagger", "EvaluateResult", "Evaluation",
    "Examination", "Examples", "explain", "ExplainResult", "export_again", "export_tflite", "Features", "FeatureTable",
    "fetch_weights", "few_shot_summary", "few_shot_task", "FewShotRecord", "find_label_errors", "find_near_duplicates",
    "fine_tune", "FineTuneResult", "fit", "fit_length", "fit_parser", "fit_private", "fit_tagger", "FitOptions",
    "FittedHead", "FittedParser", "FittedTagger", "Head", "HeadLike", "ImageConfig", "isolated", "KerastlError",
    "label_next", "LabelError", "LabelErrors", "LabelNextResult", "learn_few_shot", "learning_curve",
    "learning_curve_of", "LearningCurve", "lesson", "list_backbones", "list_heads", "list_models", "list_recipes",
    "load", "load_backbone", "load_encoder", "load_tagger", "load_teacher", "measure_capacity", "ModelError",
    "ModelList", "ModelVersion", "near_duplicate_effect", "OptionError", "Parity", "Parser", "parser_summary",
    "ParserEvaluation", "ParsingRecord", "pooling_for", "predict_inputs", "Prediction", "Predictions", "PredictResult",
    "PrivacyAudit", "PrivacyOptions", "PrivateFit", "read_images", "read_sentences", "read_texts", "ReadOptions",
    "Rejection", "reproduce", "ReproduceResult", "resolve_head", "run", "RunConfig", "RunRecord", "Runtime",
    "search_heads", "Sentence", "serve", "ServerResult", "Skipped", "splice", "Split", "split", "split_sentences",
    "Stopwatch", "TaggedSentence", "Tagger", "tagging_summary", "TaggingEvaluation", "TaggingRecord", "Target",
    "target", "teach", "Teacher", "TextConfig", "TFLiteFiles", "TokenEncoder", "TokenExamples", "TokenStates", "train",
    "TrainedModel", "TrainingOptions", "Trial", "TuningOptions", "untrained", "verify", "VerifyResult",
    "VersionComparison", "WeightsError", "write_evaluation_page", "write_features", "write_few_shot",
    "write_label_next", "write_mediapipe", "write_parser", "write_private_version", "write_tagger", "write_version",
]

if TYPE_CHECKING:
    from kerastl.audit.check import CheckResult as CheckResult
    from kerastl.audit.check import check as check
    from kerastl.audit.drift import Drift as Drift
    from kerastl.audit.label_errors import LabelError as LabelError
    from kerastl.audit.label_errors import LabelErrors as LabelErrors
    from kerastl.audit.label_errors import find_label_errors as find_label_errors
    from kerastl.audit.privacy import PrivacyAudit as PrivacyAudit
    from kerastl.audit.privacy import audit_privacy as audit_privacy
    from kerastl.backbones import Backbone as Backbone
    from kerastl.backbones import fetch_weights as fetch_weights
    from kerastl.backbones import load as load_backbone
    from kerastl.data.examples import Examples as Examples
    from kerastl.data.examples import Skipped as Skipped
    from kerastl.data.examples import Split as Split
    from kerastl.data.images import read_images as read_images
    from kerastl.data.near_duplicates.search import find_near_duplicates as find_near_duplicates
    from kerastl.data.options import ReadOptions as ReadOptions
    from kerastl.data.split import split as split
    from kerastl.data.texts import read_texts as read_texts
    from kerastl.decision import Calibration as Calibration
    from kerastl.decision import Predictions as Predictions
    from kerastl.dependencies.evaluation import ParserEvaluation as ParserEvaluation
    from kerastl.dependencies.evaluation import evaluate_parser as evaluate_parser
    from kerastl.dependencies.fit import FittedParser as FittedParser
    from kerastl.dependencies.fit import check_parser as check_parser
    from kerastl.dependencies.fit import fit_parser as fit_parser
    from kerastl.dependencies.model import Parser as Parser
    from kerastl.dependencies.record import ParsingRecord as ParsingRecord
    from kerastl.dependencies.report import parser_summary as parser_summary
    from kerastl.dependencies.write import write_parser as write_parser
    from kerastl.doctor.examine import Examination as Examination
    from kerastl.errors import CheckFailed as CheckFailed
    from kerastl.errors import DataError as DataError
    from kerastl.errors import KerastlError as KerastlError
    from kerastl.errors import ModelError as ModelError
    from kerastl.errors import OptionError as OptionError
    from kerastl.errors import WeightsError as WeightsError
    from kerastl.evaluation.baseline import Baseline as Baseline
    from kerastl.evaluation.baseline import baseline as baseline
    from kerastl.evaluation.metrics import evaluate as evaluate
    from kerastl.evaluation.rejection import Rejection as Rejection
    from kerastl.evaluation.result import Evaluation as Evaluation
    from kerastl.evaluation.targets import check_target as check_target
    from kerastl.export.mediapipe import write_mediapipe as write_mediapipe
    from kerastl.export.tflite_files import TFLiteFiles as TFLiteFiles
    from kerastl.export.tflite_files import export_tflite as export_tflite
    from kerastl.export.verify import VerifyResult as VerifyResult
    from kerastl.export.verify import verify as verify
    from kerastl.features.cache import chosen_dir as cache_dir
    from kerastl.features.compute import Features as Features
    from kerastl.features.compute import compute_features as compute_features
    from kerastl.features.lengths import fit_length as fit_length
    from kerastl.features.table import FeatureTable as FeatureTable
    from kerastl.features.table import write_features as write_features
    from kerastl.heads import ConfiguredHead as ConfiguredHead
    from kerastl.heads import Head as Head
    from kerastl.heads import HeadLike as HeadLike
    from kerastl.heads import resolve_head as resolve_head
    from kerastl.inputs.isolation import isolated as isolated
    from kerastl.model import pooling_for as pooling_for
    from kerastl.model import splice as splice
    from kerastl.pipelines import classify_images as classify_images
    from kerastl.pipelines import classify_texts as classify_texts
    from kerastl.privacy.fit import PrivateFit as PrivateFit
    from kerastl.privacy.fit import fit_private as fit_private
    from kerastl.privacy.options import PrivacyOptions as PrivacyOptions
    from kerastl.report.capacity import measure_capacity as measure_capacity
    from kerastl.report.drift import drift as drift
    from kerastl.report.evaluation_page import write_evaluation_page as write_evaluation_page
    from kerastl.report.explain import explain as explain
    from kerastl.report.few_shot import FewShotRecord as FewShotRecord
    from kerastl.report.few_shot import few_shot_summary as few_shot_summary
    from kerastl.report.few_shot import write_few_shot as write_few_shot
    from kerastl.report.label_next import write_label_next as write_label_next
    from kerastl.report.private_version import write_private_version as write_private_version
    from kerastl.report.reexport import export_again as export_again
    from kerastl.report.version import Target as Target
    from kerastl.report.version import target as target
    from kerastl.report.version import write_version as write_version
    from kerastl.rerun.diagnosis import diagnose as diagnose
    from kerastl.rerun.reproduce import ReproduceResult as ReproduceResult
    from kerastl.rerun.reproduce import reproduce as reproduce
    from kerastl.runtime import Runtime as Runtime
    from kerastl.runtime import Stopwatch as Stopwatch
    from kerastl.runtime import apply as apply_runtime
    from kerastl.server.capacity import Capacity as Capacity
    from kerastl.server.serve import serve as serve
    from kerastl.server.server import ServerResult as ServerResult
    from kerastl.serving.batch import PredictResult as PredictResult
    from kerastl.serving.batch import predict_inputs as predict_inputs
    from kerastl.serving.classifier import Classifier as Classifier
    from kerastl.serving.classifier import load as load
    from kerastl.serving.evaluate_model import EvaluateResult as EvaluateResult
    from kerastl.serving.evaluate_model import compare_versions as compare_versions
    from kerastl.serving.evaluate_model import evaluate_model as evaluate_model
    from kerastl.serving.explain import ExplainResult as ExplainResult
    from kerastl.serving.predictions import Prediction as Prediction
    from kerastl.shell.flags import ImageConfig as ImageConfig
    from kerastl.shell.flags import RunConfig as RunConfig
    from kerastl.shell.flags import TextConfig as TextConfig
    from kerastl.shell.listing import CacheInfo as CacheInfo
    from kerastl.shell.listing import cache_info as cache_info
    from kerastl.shell.listing import list_backbones as list_backbones
    from kerastl.shell.listing import list_heads as list_heads
    from kerastl.shell.listing import list_recipes as list_recipes
    from kerastl.shell.process import as_main as as_main
    from kerastl.shell.process import run as run
    from kerastl.shell.tagging import tagging_summary as tagging_summary
    from kerastl.studies.ablation import ablate as ablate
    from kerastl.studies.compare.study import Comparison as Comparison
    from kerastl.studies.compare.study import compare as compare
    from kerastl.studies.distillation import Teacher as Teacher
    from kerastl.studies.distillation import lesson as lesson
    from kerastl.studies.distillation import load_teacher as load_teacher
    from kerastl.studies.distillation import teach as teach
    from kerastl.studies.few_shot.comparison import evaluate_few_shot as evaluate_few_shot
    from kerastl.studies.few_shot.comparison import learn_few_shot as learn_few_shot
    from kerastl.studies.few_shot.episodes import by_folder as by_folder
    from kerastl.studies.few_shot.episodes import divide_classes as divide_classes
    from kerastl.studies.few_shot.episodes import few_shot_task as few_shot_task
    from kerastl.studies.label_next.propose import label_next as label_next
    from kerastl.studies.label_next.result import LabelNextResult as LabelNextResult
    from kerastl.studies.learning_curve.of_source import learning_curve_of as learning_curve_of
    from kerastl.studies.learning_curve.study import learning_curve as learning_curve
    from kerastl.studies.near_duplicates import near_duplicate_effect as near_duplicate_effect
    from kerastl.studies.rejection import detect_unknown as detect_unknown
    from kerastl.studies.search import best_head as best_head
    from kerastl.studies.search import search_heads as search_heads
    from kerastl.tagging.evaluate import TaggingEvaluation as TaggingEvaluation
    from kerastl.tagging.evaluate import evaluate_tagger as evaluate_tagger
    from kerastl.tagging.fit import FittedTagger as FittedTagger
    from kerastl.tagging.fit import check_tagger as check_tagger
    from kerastl.tagging.fit import fit_tagger as fit_tagger
    from kerastl.tagging.model import TaggedSentence as TaggedSentence
    from kerastl.tagging.model import Tagger as Tagger
    from kerastl.tagging.model import load_tagger as load_tagger
    from kerastl.tagging.record import TaggingRecord as TaggingRecord
    from kerastl.tagging.write import write_tagger as write_tagger
    from kerastl.tokens.fit import FitOptions as FitOptions
    from kerastl.tokens.read import read_sentences as read_sentences
    from kerastl.tokens.sentences import Sentence as Sentence
    from kerastl.tokens.sentences import TokenExamples as TokenExamples
    from kerastl.tokens.split import split_sentences as split_sentences
    from kerastl.tokens.states import TokenEncoder as TokenEncoder
    from kerastl.tokens.states import TokenStates as TokenStates
    from kerastl.tokens.states import compute_states as compute_states
    from kerastl.tokens.states import load_encoder as load_encoder
    from kerastl.tokens.states import untrained as untrained
    from kerastl.training.fine_tuning.fine_tune import fine_tune as fine_tune
    from kerastl.training.fine_tuning.plan import TuningOptions as TuningOptions
    from kerastl.training.fine_tuning.result import FineTuneResult as FineTuneResult
    from kerastl.training.fit import FittedHead as FittedHead
    from kerastl.training.fit import fit as fit
    from kerastl.training.options import TrainingOptions as TrainingOptions
    from kerastl.training.train import TrainedModel as TrainedModel
    from kerastl.training.train import train as train
    from kerastl.versions.learning_curve import LearningCurve as LearningCurve
    from kerastl.versions.listing import ModelList as ModelList
    from kerastl.versions.listing import ModelVersion as ModelVersion
    from kerastl.versions.listing import list_models as list_models
    from kerastl.versions.record import RunRecord as RunRecord
    from kerastl.versions.sections import Ablation as Ablation
    from kerastl.versions.sections import Parity as Parity
    from kerastl.versions.sections import Trial as Trial
    from kerastl.versions.version_comparison import VersionComparison as VersionComparison

if not TYPE_CHECKING:  # a type checker would take any name for known

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'kerastl' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOME[name]), _OTHER_NAMES.get(name, name))
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
