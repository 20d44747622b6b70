// CRC-32C by the SSE4.2 instruction: same contract as the table in crc32c.cpp, which is the oracle.
// Compiled with its own ISA flag, so nothing of the standard library may be used here.
#include "platform/crc32c_sse42.h"

#include <nmmintrin.h>
#include <string.h>

namespace maxsim {
namespace {

uint64_t Word(const uint8_t* data) {
  uint64_t word;
  memcpy(&word, data, sizeof(word));
  return word;
}

uint32_t PastStream(uint32_t state, const uint32_t (*past_stream)[256]) {
  return past_stream[0][state & 0xff] ^ past_stream[1][(state >> 8) & 0xff] ^
         past_stream[2][(state >> 16) & 0xff] ^ past_stream[3][state >> 24];
}

}  // namespace

uint32_t Crc32cSse42(const uint8_t* data, size_t size, uint32_t state,
                     const uint32_t (*past_stream)[256]) {
  constexpr size_t kStream = kCrc32cStreamBytes;
  while (size >= 3 * kStream) {
    uint64_t a = state, b = 0, c = 0;
    for (size_t i = 0; i < kStream; i += 8) {
      a = _mm_crc32_u64(a, Word(data + i));
      b = _mm_crc32_u64(b, Word(data + kStream + i));
      c = _mm_crc32_u64(c, Word(data + 2 * kStream + i));
    }
    // CRC is linear: the checksum of A then B is A's, moved past as many zeros as B is long, xor
    // B's.
    state = PastStream(static_cast<uint32_t>(a), past_stream) ^ static_cast<uint32_t>(b);
    state = PastStream(state, past_stream) ^ static_cast<uint32_t>(c);
    data += 3 * kStream;
    size -= 3 * kStream;
  }
  uint64_t wide = state;
  for (; size >= 8; data += 8, size -= 8) wide = _mm_crc32_u64(wide, Word(data));
  state = static_cast<uint32_t>(wide);
  for (; size > 0; data++, size--) state = _mm_crc32_u8(state, *data);
  return state;
}

}  // namespace maxsim
