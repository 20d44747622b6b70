// A native encoder beside the fastest multiply-add loop of this CPU, in turn in one process:
//   encoder_bench <file> [<threads>]
// Prints per batch the median and shortest time, and multiply-adds a second as a share of the peak.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "encoder/dispatch.h"
#include "encoder/forward.h"
#include "peaks.h"
#include "platform/cpu.h"

using namespace maxsim;

namespace {

double Seconds(const std::chrono::steady_clock::time_point& since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

double PeakPerSecond() {
  const CpuFeatures& cpu = Cpu();
  const auto start = std::chrono::steady_clock::now();
  uint64_t products = 0;
  if (cpu.avx512vnni) {
    products = bench::PeakVnni512(200000);
  } else if (cpu.avxvnni) {
    products = bench::PeakVnni256(200000);
  } else if (cpu.avx2) {
    products = bench::PeakMaddubs256(200000);
  }
  return static_cast<double>(products) / Seconds(start);
}

// Of the layers, attention and head; useful ones alone.
double MultiplyAdds(const ModelShape& shape, const std::vector<uint32_t>& lengths) {
  const double hidden = shape.hidden, layers = shape.layers;
  double sum = 0;
  for (const double tokens : lengths) {
    sum += tokens * layers * (4 * hidden * hidden + 2 * hidden * shape.intermediate);
    sum += 2 * layers * hidden * tokens * tokens;
    sum += (shape.pooling == Pooling::kTokens ? tokens : 1) * hidden * shape.dense[0].outputs;
  }
  return sum;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: encoder_bench <file> [<threads>]\n");
    return 2;
  }
  std::shared_ptr<const EncoderModel> model;
  const Status status = EncoderModel::Open(argv[1], &model);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
  }
  const Encoder encoder(model);
  ForwardOptions options;
  options.threads = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1;
  const std::vector<std::vector<uint32_t>> batches = {{8},
                                                      {16},
                                                      {32},
                                                      {64},
                                                      {128},
                                                      {256},
                                                      {300},
                                                      std::vector<uint32_t>(8, 64),
                                                      std::vector<uint32_t>(30, 100)};
  std::printf("kernels %s\n", ChosenEncoderKernels()->name);
  for (const std::vector<uint32_t>& lengths : batches) {
    std::vector<int32_t> ids;
    for (const uint32_t length : lengths) {
      if (length > model->shape().positions) return 1;
      for (uint32_t t = 0; t < length; t++) {
        ids.push_back(static_cast<int32_t>((t * 7919 + 2000) % model->shape().vocabulary));
      }
    }
    const TokenBatch batch = {ids, {}, lengths, {}};
    std::vector<float> output(encoder.OutputSize(batch));
    std::vector<double> times, peaks;
    const double work = MultiplyAdds(model->shape(), lengths);
    const int rounds = std::clamp(static_cast<int>(2e11 / work / 4), 7, 200);
    for (int round = 0; round < rounds; round++) {
      peaks.push_back(PeakPerSecond());
      const auto start = std::chrono::steady_clock::now();
      if (!encoder.Forward(batch, options, output).ok()) return 1;
      times.push_back(Seconds(start));
    }
    const double shortest = *std::min_element(times.begin(), times.end());
    const double peak = *std::max_element(peaks.begin(), peaks.end());
    std::printf("%2zu x %3u tokens: %8.3f ms (shortest %8.3f), %5.1f G/s, %4.1f %% of %.0f G/s\n",
                lengths.size(), lengths[0], Median(times) * 1e3, shortest * 1e3,
                work / shortest / 1e9, 100 * work / shortest / peak, peak / 1e9);
  }
  return 0;
}
