#include "maxsim/dispatch.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "maxsim/self_check.h"
#include "platform/cpu.h"

using namespace maxsim;

namespace {

void Spoil(float* scores, size_t count, float by) {
  if (count > 0) scores[count - 1] *= by;
}
constexpr float kUnitInTheLastPlace = 1.0000002f;  // will do where scores must be equal

// Each kernel of the scalar set, but for its last score.
template <MaxsimScoreInt8 MaxsimKernels::*kScore>
void LyingInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t count,
               MaxsimExit* exit, float* scores) {
  (kMaxsimScalar.*kScore)(query, documents, count, exit, scores);
  Spoil(scores, count, kUnitInTheLastPlace);
}

template <uint32_t kBits>
void LyingResidual(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                   const MaxsimDocument* documents, size_t count, MaxsimExit* exit, float* scores) {
  kMaxsimScalar.score_residual(query, residual, documents, count, exit, scores);
  if (residual->bits == kBits) Spoil(scores, count, kUnitInTheLastPlace);
}

template <MaxsimScoreF32 MaxsimKernels::*kScore>
void LyingFloats(const MaxsimQueryF32* query, const MaxsimDocument* documents, size_t count,
                 MaxsimExit* exit, float* scores) {
  (kMaxsimScalar.*kScore)(query, documents, count, exit, scores);
  Spoil(scores, count, 1.01f);
}

void LyingTable(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids, const uint32_t* ids,
                size_t count) {
  kMaxsimScalar.fill_table(query, centroids, ids, count);
  centroids->table[((count - 1) * query->block_count) * kMaxsimLanes]++;
}

// Right about all rows, not about some.
void LyingAboutSome(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids,
                    const uint32_t* ids, size_t count) {
  kMaxsimScalar.fill_table(query, centroids, ids, ids == nullptr ? count : count - 1);
}

// The last of equals.
void LyingNearest(const int8_t* tokens, size_t block_count, const MaxsimRows* rows, uint32_t* best,
                  int32_t* largest) {
  kMaxsimScalar.nearest(tokens, block_count, rows, best, largest);
  for (size_t i = 0; i < block_count * kMaxsimLanes; i++) {
    const uint8_t* found = rows->rows + best[i] * rows->padded_dim;
    for (uint32_t row = best[i] + 1; row < rows->count; row++) {
      if (rows->terms[row] == rows->terms[best[i]] &&
          std::memcmp(rows->rows + row * rows->padded_dim, found, rows->padded_dim) == 0) {
        best[i] = row;
        break;
      }
    }
  }
}

template <typename Function>
MaxsimKernels With(const char* name, Function MaxsimKernels::*member, Function function) {
  MaxsimKernels kernels = kMaxsimScalar;
  kernels.name = name;
  kernels.*member = function;
  return kernels;
}

using K = MaxsimKernels;
const struct Liar {
  MaxsimKernels kernels;
  const char* named;  // what the refusal must say
} kLiars[] = {
    {With("liar", &K::score_int8, LyingInt8<&K::score_int8>), "int8 with an 8-bit query"},
    {With("liar", &K::score_int8_token, LyingInt8<&K::score_int8_token>), "int8-token"},
    {With("liar", &K::score_residual, LyingResidual<4>), "r4"},
    {With("liar", &K::score_residual, LyingResidual<2>), "r2"},
    {With("liar", &K::score_residual, LyingResidual<1>), "r1"},
    {With("liar", &K::score_f32, LyingFloats<&K::score_f32>), "f32"},
    {With("liar", &K::score_f16, LyingFloats<&K::score_f16>), "f16"},
    {With("liar", &K::score_bf16, LyingFloats<&K::score_bf16>), "bf16"},
    {With("liar", &K::fill_table, LyingTable), "centroid table"},
    {With("liar", &K::fill_table, LyingAboutSome), "rows of a centroid table"},
    {With("liar", &K::nearest, LyingNearest), "nearest of 41 rows"},
};
const MaxsimKernels kHonest = With("honest", &K::score_int8, kMaxsimScalar.score_int8);

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

const KernelCandidate* CandidateOf(const char* name) {
  for (const KernelCandidate& c : Kernels().candidates) {
    if (std::strcmp(c.kernels->name, name) == 0) return &c;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("MAXSIM_ISA decides, and without it the first supported kernels that pass") {
  const Dispatch& dispatch = Kernels();
  REQUIRE(dispatch.status.ok());
  if (const char* forced = std::getenv("MAXSIM_ISA")) {
    CHECK(std::string(dispatch.chosen->name) == forced);
    return;
  }
  for (const KernelCandidate& c : dispatch.candidates) {
    if (!c.supported || c.slow) continue;
    CHECK(dispatch.chosen == c.kernels);
    CHECK(c.verdict == "chosen");
    break;
  }
}

TEST_CASE("kernels that gain nothing here are left aside, unless they are asked for by name") {
  const std::vector<KernelCandidate> candidates = {{&kHonest, true, "no faster", true},
                                                   {&kMaxsimScalar, true, ""}};
  const Dispatch aside = ChooseKernels(candidates, nullptr);
  CHECK(aside.chosen == &kMaxsimScalar);
  CHECK(aside.candidates[0].verdict == "no faster");
  const Dispatch forced = ChooseKernels(candidates, "honest");
  CHECK(forced.status.ok());
  CHECK(forced.chosen == &kHonest);
  const Dispatch unknown = ChooseKernels(candidates, "quantum");
  CHECK(Contains(unknown.status.message(), "it may be: honest, scalar."));
}

TEST_CASE("every kernel set that this CPU can run passes its self-check") {
  for (const KernelCandidate& c : Kernels().candidates) {
    if (c.supported) CHECK(SelfCheck(*c.kernels) == "");
  }
}

TEST_CASE("avx512bf16 is avx512 with a kernel of its own for bf16") {
  const KernelCandidate *own = CandidateOf("avx512bf16"), *avx512 = CandidateOf("avx512");
  CHECK((own == nullptr || avx512 != nullptr));
  if (own == nullptr || avx512 == nullptr) return;
  CHECK(own < avx512);  // it is tried first
  const MaxsimKernels &a = *own->kernels, &b = *avx512->kernels;
  CHECK((a.score_int8 == b.score_int8));
  CHECK((a.score_int8_token == b.score_int8_token));
  CHECK((a.score_residual == b.score_residual));
  CHECK((a.score_f32 == b.score_f32));
  CHECK((a.score_f16 == b.score_f16));
  CHECK((a.fill_table == b.fill_table));
  CHECK((a.nearest == b.nearest));
  CHECK((a.score_bf16 != nullptr));
  CHECK((a.score_bf16 != b.score_bf16));
  if (!Cpu().avx512bf16) CHECK(!own->supported);
  if (!own->supported) CHECK(own->verdict != "");
}

TEST_CASE("kernels that lie are refused by name and the next ones taken") {
  for (const Liar& liar : kLiars) {
    CAPTURE(std::string(liar.named));
    const Dispatch dispatch = ChooseKernels(
        {{&liar.kernels, true, ""}, {&kHonest, true, ""}, {&kMaxsimScalar, true, ""}}, nullptr);
    CHECK(dispatch.status.ok());
    CHECK(dispatch.chosen == &kHonest);
    CHECK(Contains(dispatch.candidates[0].verdict, "refused"));
    CHECK_MESSAGE(Contains(dispatch.candidates[0].verdict, liar.named),
                  dispatch.candidates[0].verdict);
    CHECK(dispatch.candidates[1].verdict == "chosen");
    CHECK(dispatch.candidates[2].verdict == "a better one was chosen");
  }
}

TEST_CASE("forcing a name takes it, whatever its priority") {
  const Dispatch dispatch =
      ChooseKernels({{&kHonest, true, ""}, {&kMaxsimScalar, true, ""}}, "scalar");
  CHECK(dispatch.status.ok());
  CHECK(dispatch.chosen == &kMaxsimScalar);
  CHECK(ChooseKernels({{&kHonest, true, ""}, {&kMaxsimScalar, true, ""}}, "").chosen == &kHonest);
}

TEST_CASE("forcing what is unknown, unsupported or refused is an error that names the choices") {
  const std::vector<KernelCandidate> candidates = {{&kLiars[0].kernels, true, ""},
                                                   {&kHonest, false, "the CPU lacks honesty"},
                                                   {&kMaxsimScalar, true, ""}};
  const Dispatch unknown = ChooseKernels(candidates, "quantum");
  CHECK(std::string(unknown.status.code()) == "UNSUPPORTED_ISA");
  CHECK(unknown.chosen == &kMaxsimScalar);
  CHECK(Contains(unknown.status.message(), "quantum"));
  CHECK(Contains(unknown.status.message(), "scalar"));

  const Dispatch unsupported = ChooseKernels(candidates, "honest");
  CHECK(std::string(unsupported.status.code()) == "UNSUPPORTED_ISA");
  CHECK(Contains(unsupported.status.message(), "lacks honesty"));

  const Dispatch refused = ChooseKernels(candidates, "liar");
  CHECK(std::string(refused.status.code()) == "UNSUPPORTED_ISA");
  CHECK(Contains(refused.status.message(), "refused"));
  CHECK(Contains(refused.status.message(), "it may be: scalar."));
}
