// A system (bench/system.mjs): MaxSim in plain C++, compiled by bench/systems.mjs with
// -O3 -march=native -ffast-math, and by OpenBLAS where it is installed (WITH_OPENBLAS): one sgemm
// per document, then the maxima. OpenBLAS takes its kernels from OPENBLAS_CORETYPE, or chooses
// them.
//   plain <data folder> <store MiB>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#ifdef WITH_OPENBLAS
extern "C" {
void cblas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
char* openblas_get_corename();
char* openblas_get_config();
}
constexpr int kRowMajor = 101, kAsIs = 111, kTransposed = 112;
#endif

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif
constexpr size_t kQueryTokens = 32, kWarm = 100, kCold = 1000;
size_t document_tokens, dim;
std::vector<float> query, dots;

std::vector<float> Read(const std::string& path, size_t count) {
  std::vector<float> values(count);
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * 4));
  return values;
}

float Loop(const float* document) {
  float score = 0;
  for (size_t q = 0; q < kQueryTokens; q++) {
    float best = -1e30f;
    for (size_t t = 0; t < document_tokens; t++) {
      float dot = 0;
      for (size_t d = 0; d < dim; d++) dot += query[q * dim + d] * document[t * dim + d];
      best = std::max(best, dot);
    }
    score += best;
  }
  return score;
}

#ifdef WITH_OPENBLAS
float Sgemm(const float* document) {
  const int n = static_cast<int>(document_tokens), k = static_cast<int>(dim);
  cblas_sgemm(kRowMajor, kAsIs, kTransposed, kQueryTokens, n, k, 1.f, query.data(), k, document, k,
              0.f, dots.data(), n);
  float score = 0;
  for (size_t q = 0; q < kQueryTokens; q++) {
    const float* row = &dots[q * document_tokens];
    float best = row[0];
    for (size_t t = 1; t < document_tokens; t++) best = std::max(best, row[t]);
    score += best;
  }
  return score;
}
#endif

struct Kernel {
  const char* peer;
  std::string version;
  float (*score)(const float*);
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string folder = argv[1];
  size_t documents, all_query_tokens;
  std::ifstream(folder + "/shape.txt") >> documents >> document_tokens >> dim >> all_query_tokens;
  const size_t size = document_tokens * dim;
  query = Read(folder + "/query.f32", kQueryTokens * dim);
  std::vector<float> store = Read(folder + "/tokens.f32", documents * size);
  const size_t store_floats = (static_cast<size_t>(std::atoll(argv[2])) << 20) / sizeof(float);
  const size_t stored = std::max(documents, store_floats / size);
  store.resize(stored * size);
  for (size_t i = documents; i < stored; i++) {
    std::memcpy(&store[i * size], &store[(i - documents) * size], size * sizeof(float));
  }
  dots.resize(kQueryTokens * document_tokens);

  std::vector<Kernel> kernels = {{"-O3 loop", kCompiler, Loop}};
#ifdef WITH_OPENBLAS
  std::string version = openblas_get_config();
  version = version.substr(0, version.find(' ', 9)) + " " + openblas_get_corename();
  kernels.push_back({"OpenBLAS sgemm + max", version, Sgemm});
#endif
  uint64_t state = 88172645463325252u;
  std::vector<size_t> drawn;
  const auto draw = [&](size_t count, bool warm) {
    drawn.clear();
    for (size_t i = 0; i < count; i++) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // xorshift64
      drawn.push_back(warm ? i : state % stored);
    }
  };
  std::vector<float> scores(kCold);
  const auto score = [&](const Kernel& kernel) {
    for (size_t i = 0; i < drawn.size(); i++) scores[i] = kernel.score(&store[drawn[i] * size]);
  };

  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, name;
    size_t count = 0;
    words >> command >> count;
    std::getline(words >> std::ws, name);
    if (command == "list") {
      std::printf("{\"measurements\":[");
      const char* comma = "";
      for (const Kernel& kernel : kernels) {
        for (const bool warm : {true, false}) {
          std::printf(
              "%s{\"name\":\"%s %s\",\"kind\":\"peer\",\"peer\":\"%s\",\"version\":\"%s\","
              "\"codec\":\"f32\",\"docs\":%zu,\"warm\":%s,\"threads\":1}",
              comma, kernel.peer, warm ? "100 warm" : "1000 cold", kernel.peer,
              kernel.version.c_str(), warm ? kWarm : kCold, warm ? "true" : "false");
          comma = ",";
        }
      }
      std::printf("]}\n");
    }
    for (const Kernel& kernel : kernels) {
      const bool warm = name == std::string(kernel.peer) + " 100 warm";
      if (!warm && name != std::string(kernel.peer) + " 1000 cold") continue;
      if (command == "scores") {
        draw(count, true);
        score(kernel);
        std::printf("{\"scores\":[");
        for (size_t i = 0; i < count; i++) std::printf("%s%.9g", i ? "," : "", scores[i]);
        std::printf("]}\n");
        continue;
      }
      std::string wall, cpu;
      for (size_t i = 0; i < count; i++) {
        draw(kWarm, warm);
        score(kernel);
        if (!warm) draw(kCold, false);
        const std::clock_t cpu_start = std::clock();
        const auto start = std::chrono::steady_clock::now();
        score(kernel);
        const std::chrono::duration<double, std::micro> us =
            std::chrono::steady_clock::now() - start;
        cpu += (i ? "," : "") + std::to_string(1e6 / CLOCKS_PER_SEC * (std::clock() - cpu_start));
        wall += (i ? "," : "") + std::to_string(us.count());
      }
      std::printf("{\"wallUs\":[%s],\"cpuUs\":[%s]}\n", wall.c_str(), cpu.c_str());
    }
    std::fflush(stdout);
  }
}
