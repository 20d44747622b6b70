// class Encoder: a native encoder, opened from its file. And what writes such a file.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "addon/convert.h"
#include "addon/query.h"
#include "encoder/dispatch.h"
#include "encoder/forward.h"
#include "encoder/model_writer.h"

namespace maxsim::addon {
namespace {

constexpr napi_type_tag kEncoderTag = {0x6d617873696d0005, 0x656e636f64657200};
using EncoderExternal = Napi::External<std::shared_ptr<const Encoder>>;

constexpr const char* kActivations[] = {"gelu", "gelu-tanh", "relu"};
constexpr const char* kPoolings[] = {"tokens", "first", "mean"};
constexpr const char* kDenseActivations[] = {"none", "tanh"};

template <typename T, size_t kCount>
bool ToChoice(const Napi::Value& value, const char* name, const char* const (&choices)[kCount],
              T* choice) {
  std::string text;
  if (!ToText(value, name, &text)) return false;
  for (size_t i = 0; i < kCount; i++) {
    if (text != choices[i]) continue;
    *choice = static_cast<T>(i);
    return true;
  }
  Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "%s must be one that is known, not %.40s.",
                                   name, text.c_str()));
  return false;
}

// { hidden, layers, heads, intermediate, vocabulary, positions, types, slots, activation, pooling,
// dense: [{ outputs, activation }], normalise, epsilon }
bool ToShape(const Napi::Value& value, ModelShape* shape) {
  const Napi::Env env = value.Env();
  if (!value.IsObject()) {
    Throw(env, Status::Error("INVALID_ARGUMENT", "shape must be an object."));
    return false;
  }
  const Napi::Object object = value.As<Napi::Object>();
  const struct {
    const char* name;
    uint32_t* number;
  } numbers[] = {{"hidden", &shape->hidden},         {"layers", &shape->layers},
                 {"heads", &shape->heads},           {"intermediate", &shape->intermediate},
                 {"vocabulary", &shape->vocabulary}, {"positions", &shape->positions},
                 {"types", &shape->types},           {"slots", &shape->slots}};
  for (const auto& field : numbers) {
    uint64_t number;
    if (!ToInteger(PropertyOf(object, field.name), field.name, 0, 1 << 24, &number)) return false;
    *field.number = static_cast<uint32_t>(number);
  }
  const Napi::Value epsilon = PropertyOf(object, "epsilon");
  const Napi::Value normalise = PropertyOf(object, "normalise");
  Napi::Array dense;
  if (!ToChoice(PropertyOf(object, "activation"), "activation", kActivations, &shape->activation) ||
      !ToChoice(PropertyOf(object, "pooling"), "pooling", kPoolings, &shape->pooling) ||
      !ToArray(PropertyOf(object, "dense"), "dense", &dense)) {
    return false;
  }
  if (!epsilon.IsNumber() || !normalise.IsBoolean() || dense.Length() > 2) {
    Throw(env, Status::Error("INVALID_ARGUMENT",
                             "epsilon must be a number, normalise a boolean, and dense have at "
                             "most two layers."));
    return false;
  }
  shape->epsilon = epsilon.As<Napi::Number>().FloatValue();
  shape->normalise = normalise.As<Napi::Boolean>().Value();
  const uint32_t count = std::min<uint32_t>(dense.Length(), 2);
  for (uint32_t i = 0; i < count; i++) {
    const Napi::Value layer = PropertyOf(dense, i);
    uint64_t outputs;
    if (!layer.IsObject()) {
      Throw(env, Status::Error("INVALID_ARGUMENT", "dense must hold objects."));
      return false;
    }
    if (!ToInteger(PropertyOf(layer.As<Napi::Object>(), "outputs"), "dense.outputs", 1, 4096,
                   &outputs) ||
        !ToChoice(PropertyOf(layer.As<Napi::Object>(), "activation"), "dense.activation",
                  kDenseActivations, &shape->dense[i].activation)) {
      return false;
    }
    shape->dense[i].outputs = static_cast<uint32_t>(outputs);
  }
  return true;
}

// Copies: nobody else can change or detach them.
struct Tensors {
  ModelShape shape;
  std::vector<uint8_t> recipe, words, weights;
  std::vector<float> word_scales, positions, types, norms, columns, dense;
  std::vector<uint32_t> channels;

  Status Write(const std::string& path) const {
    ModelTensors tensors;
    tensors.shape = shape;
    tensors.recipe = recipe;
    tensors.words = words;
    tensors.word_scales = word_scales;
    tensors.positions = positions;
    tensors.types = types;
    tensors.norms = norms;
    tensors.channels = {reinterpret_cast<const int32_t*>(channels.data()), channels.size()};
    tensors.weights = {reinterpret_cast<const int8_t*>(weights.data()), weights.size()};
    tensors.columns = columns;
    tensors.dense = dense;
    return WriteModel(path, tensors);
  }
};

// (path, shape, { recipe, words, wordScales, positions, types, norms, channels, weights, columns,
// dense }) -> Promise<void>. Bytes and 32-bit integers are given unsigned, in two's complement.
Napi::Value Write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string path;
  auto tensors = std::make_shared<Tensors>();
  if (!ToText(info[0], "path", &path) || !ToShape(info[1], &tensors->shape)) return env.Undefined();
  if (!info[2].IsObject()) {
    return Throw(env, Status::Error("INVALID_ARGUMENT", "tensors must be an object."));
  }
  const Napi::Object object = info[2].As<Napi::Object>();
  const struct {
    const char* name;
    std::vector<uint8_t>* bytes;
  } all_bytes[] = {
      {"recipe", &tensors->recipe}, {"words", &tensors->words}, {"weights", &tensors->weights}};
  for (const auto& field : all_bytes) {
    std::span<const uint8_t> bytes;
    if (!ToBytes(PropertyOf(object, field.name), field.name, &bytes)) return env.Undefined();
    field.bytes->assign(bytes.begin(), bytes.end());
  }
  const struct {
    const char* name;
    std::vector<float>* floats;
  } all_floats[] = {{"wordScales", &tensors->word_scales},
                    {"positions", &tensors->positions},
                    {"types", &tensors->types},
                    {"norms", &tensors->norms},
                    {"columns", &tensors->columns},
                    {"dense", &tensors->dense}};
  for (const auto& field : all_floats) {
    std::span<const float> floats;
    if (!ToFloats(PropertyOf(object, field.name), field.name, &floats)) return env.Undefined();
    field.floats->assign(floats.begin(), floats.end());
  }
  std::span<const uint32_t> channels;
  if (!ToUint32s(PropertyOf(object, "channels"), "channels", &channels)) return env.Undefined();
  tensors->channels.assign(channels.begin(), channels.end());
  return StartTask(
      env, [tensors, path] { return tensors->Write(path); },
      [](Napi::Env e) { return e.Undefined(); });
}

class EncoderObject : public Napi::ObjectWrap<EncoderObject> {
 public:
  explicit EncoderObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EncoderObject>(info) {
    if (!info[0].IsExternal()) {
      Throw(info.Env(), Status::Error("INVALID_ARGUMENT", "An encoder is made by openEncoder."));
      return;
    }
    encoder_ = *info[0].As<EncoderExternal>().Data();
    info.This().As<Napi::Object>().TypeTag(&kEncoderTag);
  }
  static Napi::Value Create(Napi::Env env, std::shared_ptr<const Encoder> encoder) {
    const Napi::Object made = ClassesOf(env).encoder.New({EncoderExternal::New(env, &encoder)});
    return made.IsEmpty() ? env.Undefined() : Napi::Value(made);
  }

  // { hidden, layers, positions, types, vocabulary, slots, outputs, pooling }
  Napi::Value Shape(const Napi::CallbackInfo& info) {
    const ModelShape& shape = encoder_->model().shape();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("hidden", shape.hidden);
    object.Set("layers", shape.layers);
    object.Set("positions", shape.positions);
    object.Set("types", shape.types);
    object.Set("vocabulary", shape.vocabulary);
    object.Set("slots", shape.slots);
    object.Set("outputs", static_cast<double>(shape.outputs()));
    object.Set("pooling", kPoolings[static_cast<size_t>(shape.pooling)]);
    return object;
  }
  Napi::Value Recipe(const Napi::CallbackInfo& info) {
    const std::span<const uint8_t> recipe = encoder_->model().recipe();
    return Napi::Buffer<uint8_t>::Copy(info.Env(), recipe.data(), recipe.size());
  }

  // ({ ids, types, lengths, attended }: a TokenBatch of Uint32Arrays, threads, stop?) ->
  // Float32Array: [tokens or sequences][outputs]. stop: { cell: Int32Array of one, value }, looked
  // at between layers: other threads stop the work by putting `value` there.
  Napi::Value Encode(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ForwardOptions options;
    OwnBatch own;
    if (!ToBatch(info, &own, &options) || !ToStop(info[2], &options.check)) {
      return env.Undefined();
    }
    const TokenBatch batch = own.View();
    const size_t size = encoder_->OutputSize(batch);
    Napi::Float32Array output = Napi::Float32Array::New(env, size);
    if (output.IsEmpty()) return env.Undefined();
    const Status status = Forward(batch, options, std::span<float>(output.Data(), size));
    if (!status.ok()) return Throw(env, status);
    return output;
  }
  // (the same batch, threads) -> Float32Array: [layers][2][hidden], ForwardOptions::largest.
  Napi::Value Observe(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ForwardOptions options;
    OwnBatch own;
    if (!ToBatch(info, &own, &options)) return env.Undefined();
    const TokenBatch batch = own.View();
    const ModelShape& shape = encoder_->model().shape();
    std::vector<float> output(encoder_->OutputSize(batch));
    std::vector<float> largest(size_t{shape.layers} * 2 * shape.hidden);
    options.largest = largest;
    const Status status = Forward(batch, options, output);
    return status.ok() ? FromFloats(env, largest) : Throw(env, status);
  }

 private:
  static bool ToStop(const Napi::Value& value, std::function<Status()>* check) {
    if (value.IsUndefined()) return true;
    uint64_t number;
    std::span<const int32_t> cell;
    if (!value.IsObject() ||
        !ToInt32s(PropertyOf(value.As<Napi::Object>(), "cell"), "cell", &cell) ||
        !ToInteger(PropertyOf(value.As<Napi::Object>(), "value"), "value", 1, INT32_MAX, &number)) {
      Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "stop must be { cell, value }."));
      return false;
    }
    if (cell.size() != 1) {
      Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "cell must have one element."));
      return false;
    }
    // Other threads write it; an Int32Array is aligned.
    *check = [cell = cell.data(), number = static_cast<int32_t>(number)] {
      return __atomic_load_n(cell, __ATOMIC_RELAXED) == number
                 ? Status::Error("ABORTED", "The operation was aborted by its signal.")
                 : Status::Ok();
    };
    return true;
  }

  // A copy: memory that is shared with other threads could change after it has been validated.
  struct OwnBatch {
    std::vector<int32_t> ids, types;
    std::vector<uint32_t> lengths, attended;
    TokenBatch View() const { return {ids, types, lengths, attended}; }
  };

  static bool ToBatch(const Napi::CallbackInfo& info, OwnBatch* own, ForwardOptions* options) {
    uint64_t threads;
    if (!ToInteger(info[1], "threads", 1, 1024, &threads)) return false;
    options->threads = threads;
    if (!info[0].IsObject()) {
      Throw(info.Env(), Status::Error("INVALID_ARGUMENT", "batch must be an object."));
      return false;
    }
    const Napi::Object batch = info[0].As<Napi::Object>();
    const auto take = [&](const char* name, auto* to) {
      std::span<const uint32_t> values;
      if (!ToUint32s(PropertyOf(batch, name), name, &values)) return false;
      to->assign(values.begin(), values.end());
      return true;
    };
    return take("ids", &own->ids) && take("types", &own->types) && take("lengths", &own->lengths) &&
           take("attended", &own->attended);
  }

  Status Forward(const TokenBatch& batch, const ForwardOptions& options,
                 std::span<float> output) const {
    try {
      return encoder_->Forward(batch, options, output);
    } catch (const std::bad_alloc&) {
      return Status::Error("IO_ERROR", "There is not enough memory for this operation.");
    }
  }

  std::shared_ptr<const Encoder> encoder_;
};

// (path) -> Promise<Encoder>
Napi::Value OpenEncoder(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string path;
  if (!ToText(info[0], "path", &path)) return env.Undefined();
  auto encoder = std::make_shared<std::shared_ptr<const Encoder>>();
  return StartTask(
      env,
      [encoder, path] {
        std::shared_ptr<const EncoderModel> model;
        const Status status = EncoderModel::Open(path, &model);
        if (status.ok()) *encoder = std::make_shared<const Encoder>(std::move(model));
        return status;
      },
      [encoder](Napi::Env e) { return EncoderObject::Create(e, *encoder); });
}

// () -> the name of the kernels that encoders use
Napi::Value EncoderIsa(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), ChosenEncoderKernels()->name);
}

}  // namespace

void ExportEncoder(Napi::Env env, Napi::Object exports) {
  const Napi::Function encoder = EncoderObject::DefineClass(
      env, "Encoder",
      {EncoderObject::InstanceAccessor<&EncoderObject::Shape>("shape"),
       EncoderObject::InstanceAccessor<&EncoderObject::Recipe>("recipe"),
       EncoderObject::InstanceMethod<&EncoderObject::Encode>("encode"),
       EncoderObject::InstanceMethod<&EncoderObject::Observe>("observe")});
  ClassesOf(env).encoder = Napi::Persistent(encoder);
  exports.Set("openEncoder", Napi::Function::New(env, OpenEncoder, "openEncoder"));
  exports.Set("writeEncoder", Napi::Function::New(env, Write, "writeEncoder"));
  exports.Set("encoderKernels", Napi::Function::New(env, EncoderIsa, "encoderKernels"));
}

}  // namespace maxsim::addon
