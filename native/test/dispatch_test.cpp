#include "maxsim/dispatch.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "maxsim/self_check.h"

using namespace maxsim;

namespace {

void LyingInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t count,
               float* scores) {
  kMaxsimScalar.score_int8(query, documents, count, scores);
  if (count > 0) scores[count - 1] *= 1.0000002f;  // one unit in the last place will do
}

void LyingF32(const MaxsimQueryF32* query, const MaxsimDocument* documents, size_t count,
              float* scores) {
  kMaxsimScalar.score_f32(query, documents, count, scores);
  if (count > 0) scores[count - 1] *= 1.01f;
}

const MaxsimKernels kLiesInInt8 = {"liar", LyingInt8, kMaxsimScalar.score_f32};
const MaxsimKernels kLiesInF32 = {"liar", kMaxsimScalar.score_int8, LyingF32};
const MaxsimKernels kHonest = {"honest", kMaxsimScalar.score_int8, kMaxsimScalar.score_f32};

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
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
    if (!c.supported) continue;
    CHECK(dispatch.chosen == c.kernels);
    CHECK(c.verdict == "chosen");
    break;
  }
}

TEST_CASE("every kernel set that this CPU can run passes its self-check") {
  for (const KernelCandidate& c : Kernels().candidates) {
    if (c.supported) CHECK(SelfCheck(*c.kernels) == "");
  }
}

TEST_CASE("kernels that lie are refused by name and the next ones taken") {
  for (const MaxsimKernels* liar : {&kLiesInInt8, &kLiesInF32}) {
    const Dispatch dispatch = ChooseKernels(
        {{liar, true, ""}, {&kHonest, true, ""}, {&kMaxsimScalar, true, ""}}, nullptr);
    CHECK(dispatch.status.ok());
    CHECK(dispatch.chosen == &kHonest);
    CHECK(Contains(dispatch.candidates[0].verdict, "refused"));
    CHECK(Contains(dispatch.candidates[0].verdict, liar == &kLiesInF32 ? "f32" : "int8"));
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
  const std::vector<KernelCandidate> candidates = {{&kLiesInInt8, true, ""},
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
