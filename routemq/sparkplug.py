"""Sparkplug B payloads (Eclipse Sparkplug 3.0, 6.4): protobuf with a data type beside each value.

The messages are described here by the specification's names and numbers, and made by protobuf from that.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

_PACKAGE = "org.eclipse.tahu.protobuf"
_VALUES = {
    "int": "uint32",
    "long": "uint64",
    "float": "float",
    "double": "double",
    "boolean": "bool",
    "string": "string",
}
"""Fields of a value that all messages with values have, in this order."""

_MESSAGES: dict[str, tuple[str, ...]] = {
    "Payload": ("timestamp uint64", "metrics *Metric", "seq uint64", "uuid string", "body bytes"),
    "Metric": (
        "name string", "alias uint64", "timestamp uint64", "datatype uint32", "is_historical bool",
        "is_transient bool", "is_null bool", "metadata MetaData", "properties PropertySet", "=", "bytes_value bytes",
        "dataset_value DataSet", "template_value Template",
    ),
    "MetaData": (
        "is_multi_part bool", "content_type string", "size uint64", "seq uint64", "file_name string",
        "file_type string", "md5 string", "description string",
    ),
    "DataSet": ("num_of_columns uint64", "columns *string", "types *uint32", "rows *Row"),
    "Row": ("elements *DataSetValue",),
    "DataSetValue": ("=",),
    "Template": (
        "version string", "metrics *Metric", "parameters *Parameter", "template_ref string", "is_definition bool",
    ),
    "Parameter": ("name string", "type uint32", "="),
    "PropertySet": ("keys *string", "values *PropertyValue"),
    "PropertySetList": ("propertyset *PropertySet",),
    "PropertyValue": (
        "type uint32", "is_null bool", "=", "propertyset_value PropertySet", "propertysets_value PropertySetList",
    ),
}  # fmt: skip
"""Each message's fields, numbered from 1; `*` stands before what is repeated, `=` for a value of any of `_VALUES`."""

_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}
"""Data types Int8 to Int64, and their bits: on the wire they are unsigned."""

_FIELD_OF = (
    dict.fromkeys((1, 2, 3, 5, 6, 7), "int_value") | dict.fromkeys((4, 8, 13), "long_value")
    | {9: "float_value", 10: "double_value", 11: "boolean_value", 17: "bytes_value", 18: "bytes_value"}
)  # fmt: skip
"""Data type → the field that holds its values; all others are strings."""


class SparkplugCodec:
    """Payloads of Sparkplug B: `{"timestamp": …, "seq": …, "metrics": [{"name": …, "datatype": …, "value": …}, …]}`.

    A metric has its `value` as its data type says, signed numbers with their sign; None when it is null.
    """

    name = "Sparkplug B"

    def __init__(self) -> None:
        self._payload = _payload_class()

    def decode(self, payload: bytes) -> Any:
        """Return what it says."""
        message = self._payload.FromString(payload)
        found = {field.name: value for field, value in message.ListFields() if field.name != "metrics"}
        return found | {"metrics": [_metric(each) for each in message.metrics]}

    def encode(self, value: Any) -> bytes:
        """Return such a value as Sparkplug B; a metric's `datatype` says how its value is sent."""
        message = self._payload(**{name: each for name, each in value.items() if name != "metrics"})
        for each in value.get("metrics", ()):
            _fill(message.metrics.add(), each)
        data: bytes = message.SerializeToString()
        return data


def _metric(metric: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in metric.ListFields():
        if field.containing_oneof is not None:
            found["value"] = _value(value, metric.datatype)
        else:
            found[field.name] = _as_dict(value) if field.message_type else value
    if metric.is_null:
        found["value"] = None
    return found


def _value(value: Any, datatype: int) -> Any:
    bits = _SIGNED.get(datatype)
    if bits is not None and isinstance(value, int) and value >> (bits - 1) & 1:
        # Some senders extend the sign to 32 bits, others do not.
        return (value & ((1 << bits) - 1)) - (1 << bits)
    return _as_dict(value) if hasattr(value, "DESCRIPTOR") else value


def _as_dict(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _fill(metric: Any, given: dict[str, Any]) -> None:
    rest = {name: each for name, each in given.items() if name != "value"}
    json_format.ParseDict(rest, metric)
    value = given.get("value")
    if value is None:
        metric.is_null = True
    elif isinstance(value, dict):
        name = "dataset_value" if "columns" in value or "rows" in value else "template_value"
        json_format.ParseDict(value, getattr(metric, name))
    else:
        bits = _SIGNED.get(metric.datatype)
        wire = value & ((1 << (32 if bits != 64 else 64)) - 1) if bits is not None else value
        setattr(metric, _FIELD_OF.get(metric.datatype, "string_value"), wire)


@cache
def _payload_class() -> Any:
    # Of a pool of its own: an application may have the definitions that protoc makes.
    pool: Any = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="routemq/sparkplug_b.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        number = 0
        for text in fields:
            names = [f"{each}_value {kind}" for each, kind in _VALUES.items()] if text == "=" else [text]
            for each in names:
                number += 1
                _add_field(message, number, each, in_value="_value " in each)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


def _add_field(message: Any, number: int, text: str, *, in_value: bool) -> None:
    name, kind = text.split()
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind in _MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
    if in_value:
        if not message.oneof_decl:
            message.oneof_decl.add(name="value")
        field.oneof_index = 0
