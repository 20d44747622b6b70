#include "maxsim/dispatch.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "maxsim/query.h"
#include "maxsim/self_check.h"
#include "platform/cpu.h"

namespace maxsim {
namespace {

struct Requirement {
  const char* feature;  // as /proc/cpuinfo spells it
  bool present;
};

// A candidate whose verdict, if it cannot run, says which features are missing.
KernelCandidate Candidate(const MaxsimKernels& kernels,
                          const std::vector<Requirement>& requirements) {
  std::string missing;
  for (const Requirement& r : requirements) {
    if (!r.present) missing += (missing.empty() ? "" : ", ") + std::string(r.feature);
  }
  return {&kernels, missing.empty(), missing.empty() ? "" : "the CPU or its OS lacks " + missing};
}

#if defined(MAXSIM_AVX512) && defined(MAXSIM_AVX512BF16)

// The shortest of a few runs of one kernel over a little work: 3 million products.
double Seconds(MaxsimScoreF32 score, const MaxsimQueryF32& query,
               const std::vector<MaxsimDocument>& documents) {
  std::vector<float> scores(documents.size());
  double shortest = 1;
  for (int run = 0; run < 9; run++) {
    const auto start = std::chrono::steady_clock::now();
    score(&query, documents.data(), documents.size(), nullptr, scores.data());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    shortest = std::min(shortest, taken.count());
  }
  return shortest;
}

// avx512 with bfloat16 products of the CPU's own. Not every CPU that has them is faster with them
// than by way of f32.
KernelCandidate WithBfloat16(const KernelCandidate& avx512, bool has_instructions) {
  static MaxsimKernels kernels = kMaxsimAvx512;
  kernels.name = kMaxsimAvx512Bf16.name;
  kernels.score_bf16 = kMaxsimAvx512Bf16.score_bf16;
  KernelCandidate candidate = avx512;
  candidate.kernels = &kernels;
  if (!candidate.supported) return candidate;
  if (!has_instructions) {
    candidate.supported = false;
    candidate.verdict = "the CPU or its OS lacks avx512_bf16";
    return candidate;
  }
  constexpr size_t kQueryTokens = 32, kDim = 128, kDocumentTokens = 96;
  const std::vector<float> tokens(kQueryTokens * kDim, 0.0625f);
  const PreparedQuery query(tokens.data(), kQueryTokens, kDim, 8);
  std::vector<uint8_t> rows(kDocumentTokens * kDim * 2);  // zeros: as fast as any other values
  const std::vector<MaxsimDocument> documents(8, {rows.data(), kDocumentTokens});
  const MaxsimQueryF32 prepared = query.Bfloat16();
  const double own = Seconds(kernels.score_bf16, prepared, documents);
  const double by_f32 = Seconds(kMaxsimAvx512.score_bf16, prepared, documents);
  if (own * 1.1 > by_f32) {
    candidate.slow = true;
    candidate.verdict = "the CPU multiplies bfloat16 no faster than f32";
  }
  return candidate;
}

#endif

std::vector<KernelCandidate> CandidatesByPriority() {
  std::vector<KernelCandidate> candidates;
  [[maybe_unused]] const CpuFeatures& cpu = Cpu();
#if defined(MAXSIM_AVX512)
  const KernelCandidate avx512 = Candidate(kMaxsimAvx512, {{"avx512f", cpu.avx512f},
                                                           {"avx512bw", cpu.avx512bw},
                                                           {"avx512vl", cpu.avx512vl},
                                                           {"avx512dq", cpu.avx512dq},
                                                           {"avx512_vnni", cpu.avx512vnni}});
#if defined(MAXSIM_AVX512BF16)
  candidates.push_back(WithBfloat16(avx512, cpu.avx512bf16));
#endif
  candidates.push_back(avx512);
#endif
#if defined(MAXSIM_AVXVNNI)
  candidates.push_back(Candidate(
      kMaxsimAvxVnni,
      {{"avx2", cpu.avx2}, {"fma", cpu.fma}, {"f16c", cpu.f16c}, {"avx_vnni", cpu.avxvnni}}));
#endif
#if defined(MAXSIM_AVX2)
  candidates.push_back(
      Candidate(kMaxsimAvx2, {{"avx2", cpu.avx2}, {"fma", cpu.fma}, {"f16c", cpu.f16c}}));
#endif
#if defined(MAXSIM_NEON)
  candidates.push_back(Candidate(kMaxsimNeon, {{"asimddp", cpu.dotprod}}));
#endif
  candidates.push_back(Candidate(kMaxsimScalar, {}));
  return candidates;
}

// Those neither unsupported nor refused: both have a verdict already.
std::string RunnableNames(const std::vector<KernelCandidate>& candidates) {
  std::string names;
  for (const KernelCandidate& c : candidates) {
    if (c.supported && (c.verdict.empty() || c.slow))
      names += (names.empty() ? "" : ", ") + std::string(c.kernels->name);
  }
  return names;
}

// The index of the candidate to use, or candidates.size(); fills in the verdicts of those tried.
size_t FirstTrusted(std::vector<KernelCandidate>& candidates, const char* only) {
  for (size_t i = 0; i < candidates.size(); i++) {
    KernelCandidate& c = candidates[i];
    if (!c.supported || (only == nullptr ? c.slow : std::string(only) != c.kernels->name)) continue;
    const std::string difference =
        c.kernels == &kMaxsimScalar ? std::string() : SelfCheck(*c.kernels);
    if (difference.empty()) return i;
    c.verdict = "refused: its scores differ from the scalar kernels' (" + difference + ")";
  }
  return candidates.size();
}

}  // namespace

Dispatch ChooseKernels(std::vector<KernelCandidate> candidates, const char* forced) {
  Status status = Status::Ok();
  const bool is_forced = forced != nullptr && *forced != '\0';
  size_t chosen = FirstTrusted(candidates, is_forced ? forced : nullptr);
  if (is_forced && chosen == candidates.size()) {
    std::string reason = "is not the name of any kernels";
    for (const KernelCandidate& c : candidates) {
      if (std::string(forced) == c.kernels->name) reason = "cannot be used (" + c.verdict + ")";
    }
    status = Status::Error("UNSUPPORTED_ISA", "MAXSIM_ISA=%.40s %s; on this machine it may be: %s.",
                           forced, reason.c_str(), RunnableNames(candidates).c_str());
    chosen = FirstTrusted(candidates, nullptr);
  }
  const MaxsimKernels* kernels =
      chosen < candidates.size() ? candidates[chosen].kernels : &kMaxsimScalar;
  for (size_t i = 0; i < candidates.size(); i++) {
    KernelCandidate& c = candidates[i];
    if (i == chosen) {
      c.verdict = is_forced && status.ok() ? "chosen: MAXSIM_ISA asked for it" : "chosen";
    } else if (c.verdict.empty()) {
      c.verdict =
          is_forced && status.ok() ? "MAXSIM_ISA asked for another" : "a better one was chosen";
    }
  }
  return {kernels, std::move(candidates), std::move(status)};
}

const Dispatch& Kernels() {
  static const Dispatch dispatch = ChooseKernels(CandidatesByPriority(), std::getenv("MAXSIM_ISA"));
  return dispatch;
}

}  // namespace maxsim
