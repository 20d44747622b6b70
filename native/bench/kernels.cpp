// Speed of every kernel set that this CPU can run. In: nothing (seeded noise). Out: one JSON line
// per measurement. All measurements of one table run interleaved, round after round, so that a
// noisy neighbour hits all of them; medians are reported.
//   warm   100 documents of 180 tokens, the same every round
//   cold   1000 documents drawn anew each round from a store larger than the caches
// percent_of_peak compares with the fastest multiply-add loop of the same instructions, same run.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "maxsim/dispatch.h"
#include "maxsim/query.h"
#include "platform/cpu.h"
#if defined(MAXSIM_PEAKS)
#include "peaks.h"
#endif

using namespace maxsim;

namespace {

constexpr size_t kDocumentTokens = 180, kWarmDocuments = 100, kColdDocuments = 1000;
constexpr size_t kStoreBytes = size_t{192} << 20;  // several times the last-level cache

struct Measurement {
  std::string kernels, mode, set;
  size_t query_tokens, dim, documents;
  std::function<double()> multiply_adds;  // does the work, returns how much it was
  std::string peak;                       // name of the measurement that bounds this one
  std::vector<double> rates, micros;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

uint64_t noise_state = 88172645463325252u;
uint64_t NextNoise() {
  noise_state ^= noise_state << 13;
  noise_state ^= noise_state >> 7;
  return noise_state ^= noise_state << 17;
}

std::vector<uint8_t> store;

std::vector<MaxsimDocument> Draw(size_t count, size_t row_bytes, bool cold) {
  const size_t document_bytes = kDocumentTokens * row_bytes, slots = kStoreBytes / document_bytes;
  std::vector<MaxsimDocument> documents;
  for (size_t i = 0; i < count; i++) {
    const size_t slot = cold ? NextNoise() % slots : i;
    documents.push_back(
        {store.data() + slot * document_bytes, static_cast<uint32_t>(kDocumentTokens)});
  }
  return documents;
}

enum class Mode { kInt8, kInt7, kF32 };

Measurement Kernel(const MaxsimKernels& kernels, const PreparedQuery& query, Mode mode, bool cold) {
  const size_t dim = PaddedDim(query.dim());
  const size_t row_bytes = mode == Mode::kF32 ? dim * sizeof(float) : dim;
  const size_t count = cold ? kColdDocuments : kWarmDocuments;
  const bool fast = std::strcmp(kernels.name, "scalar") != 0;
  Measurement m{kernels.name,
                mode == Mode::kF32 ? "f32" : (mode == Mode::kInt8 ? "int8" : "int8, 7-bit query"),
                cold ? "cold" : "warm",
                query.token_count(),
                query.dim(),
                fast ? count : 10,
                nullptr,
                std::string(kernels.name) + (mode == Mode::kF32 ? " f32" : " int8") + " peak",
                {},
                {}};
  auto documents =
      std::make_shared<std::vector<MaxsimDocument>>(Draw(m.documents, row_bytes, cold));
  auto scores = std::make_shared<std::vector<float>>(m.documents);
  const double work =
      static_cast<double>(m.documents * kDocumentTokens * query.token_count() * dim);
  m.multiply_adds = [=, &kernels, &query] {
    if (mode == Mode::kF32) {
      const MaxsimQueryF32 prepared = query.F32();
      kernels.score_f32(&prepared, documents->data(), documents->size(), scores->data());
    } else {
      const MaxsimQueryInt8 prepared = query.Int8(1.f / 127.f);
      kernels.score_int8(&prepared, documents->data(), documents->size(), scores->data());
    }
    return work;
  };
  return m;
}

void AddPeaks(std::vector<Measurement>& all) {
#if defined(MAXSIM_PEAKS)
  constexpr uint64_t kRounds = 20000;
  const auto add = [&](const char* name, uint64_t (*loop)(uint64_t)) {
    all.push_back({name,
                   "",
                   "peak",
                   0,
                   0,
                   0,
                   [loop] { return static_cast<double>(loop(kRounds)); },
                   "",
                   {},
                   {}});
  };
  for (const KernelCandidate& c : Kernels().candidates) {
    if (!c.supported) continue;
    if (std::strcmp(c.kernels->name, "avx512") == 0) {
      add("avx512 int8 peak", PeakVnni512);
      add("avx512 f32 peak", PeakFma512);
#if defined(MAXSIM_AVXVNNI)
    } else if (std::strcmp(c.kernels->name, "avxvnni") == 0) {
      add("avxvnni int8 peak", PeakVnni256);
      add("avxvnni f32 peak", PeakFma256);
#endif
    } else if (std::strcmp(c.kernels->name, "avx2") == 0) {
      add("avx2 int8 peak", PeakMaddubs256);
      add("avx2 f32 peak", PeakFma256);
    }
  }
#else
  (void)all;
#endif
}

void Run(std::vector<Measurement>& all, int rounds) {
  for (int round = 0; round < rounds; round++) {
    for (Measurement& m : all) {
      if (m.set == "warm") m.multiply_adds();  // brings documents, query and code into the caches
      const auto start = std::chrono::steady_clock::now();
      const double work = m.multiply_adds();
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      m.rates.push_back(work / seconds / 1e9);
      m.micros.push_back(seconds * 1e6);
    }
  }
}

void Print(const std::vector<Measurement>& all) {
  for (const Measurement& m : all) {
    const double rate = Median(m.rates);
    if (m.set == "peak") {
      std::printf("{\"peak\":\"%s\",\"gmac_per_s\":%.1f}\n", m.kernels.c_str(), rate);
      continue;
    }
    std::printf(
        "{\"kernels\":\"%s\",\"mode\":\"%s\",\"set\":\"%s\",\"query_tokens\":%zu,\"dim\":%zu,"
        "\"documents\":%zu,\"document_tokens\":%zu,\"us\":%.1f,\"gmac_per_s\":%.1f",
        m.kernels.c_str(), m.mode.c_str(), m.set.c_str(), m.query_tokens, m.dim, m.documents,
        kDocumentTokens, Median(m.micros), rate);
    for (const Measurement& peak : all) {
      if (peak.kernels == m.peak)
        std::printf(",\"percent_of_peak\":%.1f", 100 * rate / Median(peak.rates));
    }
    std::printf("}\n");
  }
}

}  // namespace

// Usage: kernels_bench [rounds]
int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 41;
  store.resize(kStoreBytes);
  // Bytes that are also sane floats: every fourth is 0x3d or 0xbd, an exponent near 2^-5.
  for (size_t i = 0; i < store.size(); i += 8) {
    const uint64_t word = (NextNoise() & 0x80ffffff80ffffffu) | 0x3d0000003d000000u;
    std::memcpy(&store[i], &word, sizeof(word));
  }
  const auto make_query = [](size_t token_count, size_t dim, unsigned bits) {
    std::vector<float> tokens(token_count * dim);
    for (float& value : tokens) value = static_cast<float>(NextNoise() % 2001) / 1000.f - 1.f;
    return PreparedQuery(tokens.data(), token_count, dim, bits);
  };
  const PreparedQuery eight = make_query(32, 128, 8), seven = make_query(32, 128, 7);
  const PreparedQuery half = make_query(16, 128, 8), three = make_query(48, 128, 8);
  const PreparedQuery small_dim = make_query(32, 48, 8);

  std::vector<Measurement> all;
  AddPeaks(all);
  for (const KernelCandidate& c : Kernels().candidates) {
    if (!c.supported) continue;
    const MaxsimKernels& kernels = *c.kernels;
    for (const bool cold : {false, true}) {
      all.push_back(Kernel(kernels, eight, Mode::kInt8, cold));
      all.push_back(Kernel(kernels, seven, Mode::kInt7, cold));
      all.push_back(Kernel(kernels, eight, Mode::kF32, cold));
    }
    all.push_back(Kernel(kernels, half, Mode::kInt8, false));
    all.push_back(Kernel(kernels, half, Mode::kF32, false));
    all.push_back(Kernel(kernels, three, Mode::kInt8, false));
    all.push_back(Kernel(kernels, small_dim, Mode::kInt8, false));
  }
  Run(all, rounds);
  Print(all);

  std::vector<float> tokens(32 * 128, 0.5f);
  std::vector<double> micros;
  for (int i = 0; i < 200; i++) {
    const auto start = std::chrono::steady_clock::now();
    const PreparedQuery query(tokens.data(), 32, 128, 8);
    micros.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
            .count());
  }
  std::printf("{\"prepare_query\":\"32 x 128\",\"us\":%.2f}\n", Median(micros));
}
