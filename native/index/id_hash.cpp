#include <cstring>

#include "index/segment_format.h"

namespace maxsim {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Rounds(int count) {
    for (int i = 0; i < count; i++) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }
};

}  // namespace

uint64_t HashId(std::string_view id, uint64_t seed) {
  // "somepseudorandomlygeneratedbytes", as in the SipHash paper; k0 = seed, k1 = 0.
  SipState state{0x736f6d6570736575 ^ seed, 0x646f72616e646f6d, 0x6c7967656e657261 ^ seed,
                 0x7465646279746573};
  const char* bytes = id.data();
  size_t left = id.size();
  for (; left >= 8; left -= 8, bytes += 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    state.v3 ^= word;
    state.Rounds(2);
    state.v0 ^= word;
  }
  uint64_t last = 0;
  std::memcpy(&last, bytes, left);
  last |= static_cast<uint64_t>(id.size()) << 56;
  state.v3 ^= last;
  state.Rounds(2);
  state.v0 ^= last;
  state.v2 ^= 0xff;
  state.Rounds(4);
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

std::string PrintableId(std::string_view id) {
  std::string text;
  for (const char c : id) {
    if (c == '\0')
      text += "\xE2\x90\x80";
    else
      text += c;
  }
  return text;
}

}  // namespace maxsim
