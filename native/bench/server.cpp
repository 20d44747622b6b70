#include <cstdio>
#include <ctime>
#include <iostream>
#include <sstream>

#include "measurement.h"

namespace maxsim::bench {
namespace {

#if defined(_MSC_VER)
constexpr const char* kCompiler = "MSVC";
#elif defined(__clang__)
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

void List(const Measurements& measurements) {
  std::printf("{\"compiler\":\"%s\",\"measurements\":[", kCompiler);
  const char* comma = "";
  for (const auto& m : measurements) {
    std::printf("%s{\"name\":\"%s\"%s}", comma, m->name.c_str(), m->description.c_str());
    comma = ",";
  }
  std::printf("]}\n");
}

// CPU time of all threads of this process; 0 where the system does not tell.
double CpuMicros() {
#if defined(CLOCK_PROCESS_CPUTIME_ID)
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
#else
  return 0;
#endif
}

void Print(const char* name, const std::vector<double>& values) {
  std::printf("\"%s\":[", name);
  for (size_t i = 0; i < values.size(); i++) std::printf("%s%.3f", i == 0 ? "" : ",", values[i]);
  std::printf("],");
}

void Run(Measurement& measurement, size_t times) {
  uint64_t multiply_adds = 0;
  std::vector<double> wall, cpu;
  for (size_t i = 0; i < times; i++) {
    measurement.Prepare();
    const double cpu_start = CpuMicros();
    const auto start = std::chrono::steady_clock::now();
    multiply_adds = measurement.Run();
    const std::chrono::duration<double, std::micro> elapsed =
        std::chrono::steady_clock::now() - start;
    cpu.push_back(CpuMicros() - cpu_start);
    wall.push_back(elapsed.count());
  }
  std::printf("{");
  Print("wallUs", wall);
  Print("cpuUs", cpu);
  std::printf("\"multiplyAdds\":%llu}\n", static_cast<unsigned long long>(multiply_adds));
}

void Scores(Measurement& measurement, size_t count) {
  const std::vector<float> scores = measurement.Scores();
  std::printf("{\"scores\":[");
  for (size_t i = 0; i < count && i < scores.size(); i++) {
    std::printf("%s%.9g", i == 0 ? "" : ",", static_cast<double>(scores[i]));
  }
  std::printf("]}\n");
}

}  // namespace

int Serve(Measurements& measurements) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string command, name;
    size_t count = 0;
    words >> command >> count;
    std::getline(words >> std::ws, name);
    if (command == "list") {
      List(measurements);
    } else {
      Measurement* found = nullptr;
      for (const auto& m : measurements) {
        if (m->name == name) found = m.get();
      }
      if (found == nullptr || (command != "run" && command != "scores")) {
        std::printf("{\"error\":\"no such command or measurement\"}\n");
      } else if (command == "run") {
        Run(*found, count);
      } else {
        Scores(*found, count);
      }
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace maxsim::bench
