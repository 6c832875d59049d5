"""The JSON of requests and answers, as pydantic models: they check requests and document /docs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

Item = TypeVar("Item")
InputList = Annotated[list[Item], FailFast()]  # a million errors would take minutes to collect
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]


class Error(BaseModel):
    """Any answer with a status of 400 or more."""

    error: str = Field(description="One line: what came, and what was expected.")


class Pictures(BaseModel):
    """The body of /predict and /features as JSON."""

    model_config = ConfigDict(strict=True)
    images: InputList[Base64] = Field(
        description="Picture files; line breaks and data: URLs are accepted.",
        json_schema_extra={"minItems": 1},
    )


class UploadedPictures(BaseModel):
    """The body of /predict and /features as a form."""

    files: list[Annotated[str, Field(json_schema_extra={"format": "binary"})]] = Field(min_length=1)


class Prediction(BaseModel):
    """The answer for one picture."""

    class_: str | None = Field(
        alias="class", description="The most probable class, or null if nothing is written."
    )
    probability: float | None = Field(description="Of that class, or null.")
    probabilities: dict[str, float] = Field(description="Of every class, or of none.")
    is_digit: bool | None = Field(
        description="Whether it shows a digit; false: unclear, null: the model does not know."
    )
    seen: Base64 = Field(description="A PNG, grey or RGB: the network's input.")


class Predictions(BaseModel):
    """The answer of /predict."""

    predictions: list[Prediction]


class FoundDigit(BaseModel):
    """A digit found on a page."""

    row: int = Field(description="Its row on the page, from 1.")
    number: str = Field(description="The number of which it is a part.")
    place: int = Field(description="Its place in the number, from 1.")
    box: list[int] = Field(
        description="Left, top, right and bottom, in pixels of the picture.",
        min_length=4,
        max_length=4,
    )
    class_: str = Field(alias="class", description="The most probable class.")
    probability: float = Field(description="Of that class.")
    is_digit: bool | None = Field(
        description="Whether it shows a digit; false: unclear, null: the model does not know."
    )


class Page(BaseModel):
    """The numbers on one picture."""

    rows: list[str] = Field(description="The text of each row, its numbers apart by a space.")
    digits: list[FoundDigit] = Field(description="In reading order; none if nothing is written.")


class Pages(BaseModel):
    """The answer of /predict?many=1."""

    pages: list[Page]


class FeatureMaps(BaseModel):
    """The maps of one convolution, uint8, each scaled from its minimum to its maximum."""

    name: str
    shape: list[int] = Field(description="Maps, height, width.")
    data: Base64


class Features(Prediction):
    """The answer of /features."""

    features: list[FeatureMaps]


class FeatureShape(BaseModel):
    """A convolution of the served model."""

    name: str
    shape: list[int]


class ModelDescription(BaseModel):
    """The answer of /model.json."""

    classes: list[str]
    preprocess: str
    image_size: int = Field(description="Pixels of a side of what the network sees.")
    input: dict[str, Any]
    dataset: str
    dataset_title: str | None
    is_light_on_dark: bool
    features: list[FeatureShape]
    explainer: list[str] = Field(description="The files in explainer/ that explain the network.")


class Live(BaseModel):
    """The answer of /v2/health/live."""

    live: bool


class Ready(BaseModel):
    """The answer of the endpoints that end with /ready."""

    ready: bool


class ServerMetadata(BaseModel):
    """The answer of /v2."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """The name, type and shape of an input or output; -1 is the batch."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The answer of /v2/models/lenet."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any] = Field(
        description="The range of the input, how to get there, and the order of its channels."
    )


class ModelConfig(BaseModel):
    """The answer of /v2/models/lenet/config: Triton's model configuration."""

    name: str
    platform: str
    backend: str
    version_policy: dict[str, Any]
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]
    parameters: dict[str, dict[str, str]]


class Duration(BaseModel):
    """How often something was done, and the nanoseconds of all times together."""

    count: int
    ns: int


class ModelStatistics(BaseModel):
    """Totals over all workers since the start; the pictures of /predict and /features count too."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970, or 0.")
    inference_count: int = Field(description="Pictures and tensors.")
    execution_count: int = Field(description="Runs of the model.")
    inference_stats: dict[str, Duration] = Field(description="What is not measured apart is 0.")
    batch_stats: list[Any]


class Statistics(BaseModel):
    """The answer of /v2/models/lenet/stats, as Triton's."""

    model_stats: list[ModelStatistics]


class IndexedModel(BaseModel):
    """An entry of the answer of /v2/repository/index."""

    name: str
    version: str
    state: str
    reason: str


class Parameters(BaseModel):
    """Parameters of a request or a tensor; those of other extensions are ignored."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None

    @model_validator(mode="after")
    def _refuse_extensions(self) -> Parameters:
        names = self.model_extra or {}
        if any(name.startswith("shared_memory") for name in names):
            raise ValueError("shared memory is not supported; send the tensors in the body")
        if names.get("classification"):
            raise ValueError("the classification extension is not supported; use POST /predict")
        return self


class InputTensor(BaseModel):
    """The only input: normalised pictures, float32 (B, C, S, S)."""

    model_config = ConfigDict(strict=True)
    name: Literal["image"]
    datatype: Literal["FP32"]
    shape: InputList[int]
    data: list[Any] | None = Field(None, description="Numbers in row-major order, nested or flat.")
    parameters: Parameters = Parameters()


class RequestedOutput(BaseModel):
    """The only output: logits, float32 (B, C)."""

    model_config = ConfigDict(strict=True)
    name: Literal["logits"]
    parameters: Parameters = Parameters()


class InferRequest(BaseModel):
    """The JSON part of an inference request of the Open Inference Protocol."""

    model_config = ConfigDict(strict=True)
    id: str | None = None
    parameters: Parameters = Parameters()
    inputs: InputList[InputTensor] = Field(min_length=1, max_length=1)
    outputs: InputList[RequestedOutput] = Field([], max_length=1)


class OutputTensor(TensorMetadata):
    """Calibrated logits: `data`, or as many bytes behind the JSON as `binary_data_size` says."""

    data: list[float] | None = None
    parameters: Parameters | None = None


class InferAnswer(BaseModel):
    """The JSON part of an inference answer."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] | None = Field(
        None, description="`warning`, if the values do not seem to be normalised."
    )
    outputs: list[OutputTensor]
