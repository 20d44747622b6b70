#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "fixtures.h"
#include "platform/cpu.h"
#include "platform/crc32c.h"
#include "platform/status.h"
#include "platform/thread_pool.h"

using namespace maxsim;

TEST_CASE("CRC-32C has the values of RFC 3720") {
  for (auto crc32c : {Crc32c, Crc32cPortable}) {
    CHECK(crc32c("123456789", 9, 0) == 0xe3069283u);
    CHECK(crc32c(std::string(32, '\0').data(), 32, 0) == 0x8a9136aau);
    CHECK(crc32c(std::string(32, '\xff').data(), 32, 0) == 0x62a8ab43u);
    CHECK(crc32c(nullptr, 0, 0) == 0);
    CHECK(crc32c(nullptr, 0, 0x1234) == 0x1234);
  }
}

TEST_CASE("the CRC instruction agrees with the table at every alignment and around its streams") {
  const std::vector<uint8_t> bytes = Noise(1).Bytes(10000);
  for (size_t offset = 0; offset < 16; offset++) {
    for (const size_t size :
         {0, 1, 7, 8, 9, 63, 64, 65, 1023, 3071, 3072, 3073, 3080, 6144, 9984}) {
      CHECK(Crc32c(bytes.data() + offset, size) == Crc32cPortable(bytes.data() + offset, size));
    }
  }
}

TEST_CASE("a checksum continued equals the checksum of the whole") {
  const std::vector<uint8_t> bytes = Noise(2).Bytes(8000);
  const uint32_t whole = Crc32c(bytes.data(), bytes.size());
  for (const size_t cut : {0, 1, 13, 3072, 5000, 7999, 8000}) {
    const uint32_t head = Crc32c(bytes.data(), cut);
    CHECK(Crc32c(bytes.data() + cut, bytes.size() - cut, head) == whole);
  }
}

TEST_CASE("a flipped bit is found by the checksum, wherever it is, and two are not taken for one") {
  Noise noise(3);
  for (const size_t size : {0, 1, 3, 60, 252, 4096, 300000}) {
    std::vector<uint8_t> bytes = noise.Bytes(size);
    const uint64_t bits = 8 * uint64_t{size};
    const uint32_t stored = Crc32c(bytes.data(), size);
    const auto flip = [&bytes, bits](uint64_t bit, uint32_t* checksum) {
      if (bit >= bits) {
        *checksum ^= uint32_t{1} << (bit - bits);
      } else {
        bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
      }
    };
    CHECK(!FindFlippedBit(size, 0));
    const size_t rounds = size > 4096 ? 40 : 400;
    for (size_t round = 0; round < rounds + 2; round++) {
      // The first bit, the last of the checksum, and any between.
      const uint64_t bit = round == 0 ? 0 : round == 1 ? bits + 31 : noise.Next() % (bits + 32);
      uint32_t checksum = stored;
      flip(bit, &checksum);
      CHECK(FindFlippedBit(size, Crc32c(bytes.data(), size) ^ checksum) == bit);
      const uint64_t other = noise.Next() % (bits + 32);
      if (other != bit) {
        flip(other, &checksum);
        CHECK(!FindFlippedBit(size, Crc32c(bytes.data(), size) ^ checksum));
        flip(other, &checksum);
      }
      flip(bit, &checksum);
    }
    CHECK(Crc32c(bytes.data(), size) == stored);
  }
  std::vector<uint8_t> large(size_t{8} << 20, 7);
  const uint32_t stored = Crc32c(large.data(), large.size());
  large[0] ^= 1;
  CHECK(FindFlippedBit(large.size(), Crc32c(large.data(), large.size()) ^ stored) == 0);
  CHECK(!FindFlippedBit(kMaxCorrectableBytes + 1, 1));
}

TEST_CASE("a status carries its code and its sentence, however long") {
  const Status ok = Status::Ok();
  CHECK(ok.ok());
  CHECK(ok.code() == nullptr);
  const std::string name(5000, 'x');
  const Status status = Status::Error("IO_ERROR", "%s ends at %zu", name.c_str(), size_t{17});
  CHECK(!status.ok());
  CHECK(std::string(status.code()) == "IO_ERROR");
  CHECK(status.message() == name + " ends at 17");
}

TEST_CASE("the CPU has a name, and AVX2 where it has AVX-512") {
  const CpuFeatures& cpu = Cpu();
  CHECK(!cpu.brand.empty());
  if (cpu.avx512f) CHECK(cpu.avx2);
#if defined(__aarch64__)
  CHECK(cpu.neon);
#endif
}

TEST_CASE("a thread pool runs every item once, from several threads at a time") {
  ThreadPool& pool = ThreadPool::Shared();
  CHECK(pool.width() >= 1);
  std::vector<std::thread> callers;
  std::atomic<size_t> wrong{0};
  for (int caller = 0; caller < 4; caller++) {
    callers.emplace_back([&pool, &wrong] {
      for (size_t count = 0; count < 200; count++) {
        std::vector<std::atomic<int>> runs(count);
        pool.For(count, [&runs](size_t i) { runs[i].fetch_add(1); });
        for (const auto& run : runs) wrong += run.load() == 1 ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}
