// Runs the tests of this room, unless MAXSIM_ISA names kernels that this CPU cannot run.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "maxsim/dispatch.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (const char* forced = std::getenv("MAXSIM_ISA")) {
    for (const maxsim::KernelCandidate& c : maxsim::Kernels().candidates) {
      if (std::strcmp(c.kernels->name, forced) == 0 && !c.supported) return kSkipped;
    }
  }
  return doctest::Context(argc, argv).run();
}
