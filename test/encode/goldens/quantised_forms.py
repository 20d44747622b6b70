"""Smaller forms of the tiny model pylate-bert, as exporters make them. pip install onnx onnxruntime onnxconverter-common onnx_ir"""
import os

import numpy as np
import onnx
from onnxconverter_common import float16
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "..", "golden")
MODEL = os.path.join(GOLDEN, "encoders", "pylate-bert", "model.onnx")
FORMS = os.path.join(GOLDEN, "forms")


class Random(CalibrationDataReader):
    def __init__(self):
        names = [value.name for value in onnx.load(MODEL).graph.input]
        draw = np.random.default_rng(7)
        self.batches = iter([
            {name: draw.integers(7, 900, (1, 24)) if name == "input_ids"
             else np.full((1, 24), int(name == "attention_mask"), np.int64) for name in names}
            for _ in range(16)])

    def get_next(self):
        return next(self.batches, None)


os.makedirs(FORMS, exist_ok=True)
out = lambda name: os.path.join(FORMS, name)
quantize_dynamic(MODEL, out("model_int8.onnx"), weight_type=QuantType.QInt8)
quantize_static(MODEL, out("model_qdq.onnx"), Random(), quant_format=QuantFormat.QDQ)
onnx.save(float16.convert_float_to_float16(onnx.load(MODEL)), out("model_fp16.onnx"))
quantizer = MatMulNBitsQuantizer(onnx.load(MODEL), bits=4, block_size=32, is_symmetric=True, accuracy_level=4)
quantizer.process()
quantizer.model.save_model_to_file(out("model_q4.onnx"))
