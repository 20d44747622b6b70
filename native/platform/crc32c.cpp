// Any bytes in, their CRC-32C out; the same value from the table and from the instruction.
#include "platform/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#include "platform/cpu.h"
#if defined(MAXSIM_CRC32C_SSE42)
#include "platform/crc32c_sse42.h"
#endif

namespace maxsim {
namespace {

static_assert(std::endian::native == std::endian::little, "the slicing below reads 8-byte words");

constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41, bits reversed

// kTable[0] moves a state past one byte; kTable[i] past i more zero bytes: 8 look-ups take 8 bytes.
using SlicingTable = std::array<std::array<uint32_t, 256>, 8>;

constexpr SlicingTable MakeTable() {
  SlicingTable table{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t state = byte;
    for (int bit = 0; bit < 8; bit++) state = (state >> 1) ^ ((state & 1) ? kPolynomial : 0);
    table[0][byte] = state;
  }
  for (size_t i = 1; i < 8; i++) {
    for (size_t byte = 0; byte < 256; byte++) {
      const uint32_t state = table[i - 1][byte];
      table[i][byte] = (state >> 8) ^ table[0][state & 0xff];
    }
  }
  return table;
}

constexpr SlicingTable kTable = MakeTable();

uint32_t PastBytes(const uint8_t* data, size_t size, uint32_t state) {
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, sizeof(word));
    word ^= state;
    state = 0;
    for (size_t i = 0; i < 8; i++) state ^= kTable[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; size > 0; data++, size--) state = (state >> 8) ^ kTable[0][(state ^ *data) & 0xff];
  return state;
}

#if defined(MAXSIM_CRC32C_SSE42)

struct StreamTable {
  uint32_t rows[4][256];
};

// Linear in the state, so 32 basis states (walked byte by byte past the zeros) give all the rest.
StreamTable MakeStreamTable() {
  StreamTable table{};
  const std::array<uint8_t, kCrc32cStreamBytes> zeros{};
  for (size_t i = 0; i < 4; i++) {
    for (uint32_t bit = 1; bit < 256; bit <<= 1) {
      table.rows[i][bit] = PastBytes(zeros.data(), zeros.size(), bit << (8 * i));
    }
    for (uint32_t byte = 1; byte < 256; byte++) {
      const uint32_t lowest = byte & (~byte + 1);
      if (lowest != byte)
        table.rows[i][byte] = table.rows[i][lowest] ^ table.rows[i][byte ^ lowest];
    }
  }
  return table;
}

#endif

}  // namespace

uint32_t Crc32cPortable(const void* data, size_t size, uint32_t crc) {
  return ~PastBytes(static_cast<const uint8_t*>(data), size, ~crc);
}

uint32_t Crc32c(const void* data, size_t size, uint32_t crc) {
#if defined(MAXSIM_CRC32C_SSE42)
  if (Cpu().sse42) {
    static const StreamTable past_stream = MakeStreamTable();
    return ~Crc32cSse42(static_cast<const uint8_t*>(data), size, ~crc, past_stream.rows);
  }
#endif
  return Crc32cPortable(data, size, crc);
}

// A checksum is linear: the syndrome of a flipped bit depends on its place alone. Read backwards
// from the end of the stored checksum, each bit's is that of the bit before it, moved on by one
// step.
std::optional<uint64_t> FindFlippedBit(size_t size, uint32_t syndrome) {
  if (syndrome == 0 || size > kMaxCorrectableBytes) return std::nullopt;
  uint32_t state = uint32_t{1} << 31;
  for (uint64_t after = uint64_t{8} * size + 32; after-- > 0;) {
    if (state == syndrome) return after;
    state = (state >> 1) ^ (-(state & 1) & kPolynomial);
  }
  return std::nullopt;
}

}  // namespace maxsim
