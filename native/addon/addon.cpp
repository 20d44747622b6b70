// The Node-API face of the core: the export table of maxsim.node. Conversions here, no logic.
#include <napi.h>

#include "addon/convert.h"
#include "maxsim/dispatch.h"
#include "platform/cpu.h"

namespace {

using maxsim::CpuFeatures;

// { brand, features: ['avx2', ...] }
Napi::Value Cpu(const Napi::CallbackInfo& info) {
  const CpuFeatures& cpu = maxsim::Cpu();
  const struct {
    const char* name;
    bool present;
  } features[] = {
      {"sse4_2", cpu.sse42},
      {"avx2", cpu.avx2},
      {"fma", cpu.fma},
      {"f16c", cpu.f16c},
      {"avx_vnni", cpu.avxvnni},
      {"avx512f", cpu.avx512f},
      {"avx512bw", cpu.avx512bw},
      {"avx512vl", cpu.avx512vl},
      {"avx512dq", cpu.avx512dq},
      {"avx512_vnni", cpu.avx512vnni},
      {"avx512_bf16", cpu.avx512bf16},
      {"neon", cpu.neon},
      {"dotprod", cpu.dotprod},
  };
  const Napi::Env env = info.Env();
  Napi::Array present = Napi::Array::New(env);
  for (const auto& feature : features) {
    if (feature.present) present.Set(present.Length(), feature.name);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("brand", cpu.brand);
  result.Set("features", present);
  return result;
}

// { chosen, candidates: [{ name, supported, verdict }], error?: { code, message } }
Napi::Value Kernels(const Napi::CallbackInfo& info) {
  const maxsim::Dispatch& dispatch = maxsim::Kernels();
  const Napi::Env env = info.Env();
  Napi::Array candidates = Napi::Array::New(env, dispatch.candidates.size());
  for (size_t i = 0; i < dispatch.candidates.size(); i++) {
    const maxsim::KernelCandidate& c = dispatch.candidates[i];
    Napi::Object candidate = Napi::Object::New(env);
    candidate.Set("name", c.kernels->name);
    candidate.Set("supported", c.supported);
    candidate.Set("verdict", c.verdict);
    candidates.Set(static_cast<uint32_t>(i), candidate);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("chosen", dispatch.chosen->name);
  result.Set("candidates", candidates);
  if (!dispatch.status.ok()) {
    Napi::Object error = Napi::Object::New(env);
    error.Set("code", dispatch.status.code());
    error.Set("message", dispatch.status.message());
    result.Set("error", error);
  }
  return result;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("cpu", Napi::Function::New(env, Cpu, "cpu"));
  exports.Set("kernels", Napi::Function::New(env, Kernels, "kernels"));
  maxsim::addon::ExportCodebook(env, exports);
  maxsim::addon::ExportEncoder(env, exports);
  maxsim::addon::ExportExamination(env, exports);
  maxsim::addon::ExportFilter(env, exports);
  maxsim::addon::ExportQuery(env, exports);
  maxsim::addon::ExportVectors(env, exports);
  maxsim::addon::ExportSnapshot(env, exports);
  maxsim::addon::ExportSearch(env, exports);
  maxsim::addon::ExportSegmentWriter(env, exports);
  maxsim::addon::ExportStoreTasks(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(maxsim, Init)
