// One thing that can be timed, by name: a kernel on some documents, a peak, a call into a snapshot.
#ifndef MAXSIM_BENCH_MEASUREMENT_H_
#define MAXSIM_BENCH_MEASUREMENT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace maxsim::bench {

class Measurement {
 public:
  virtual ~Measurement() = default;

  // Untimed: allocates at the first call, draws the next documents, warms what is to be warm.
  virtual void Prepare() {}
  // The work; returns its multiply-adds.
  virtual uint64_t Run() = 0;
  // Scores of the first documents of the data, where they mean something.
  virtual std::vector<float> Scores() { return {}; }

  std::string name;
  std::string description;  // further members of its JSON object, each with a comma before it
};

using Measurements = std::vector<std::unique_ptr<Measurement>>;

// Answers commands on stdin with a JSON line each on stdout, until stdin ends:
//   list               {"compiler":..,"measurements":[{"name":..,..},..]}
//   run <n> <name>     {"wallUs":[..],"cpuUs":[..],"multiplyAdds":..}: prepares and runs n times
//   scores <n> <name>  {"scores":[..]} of the first n documents
int Serve(Measurements& measurements);

}  // namespace maxsim::bench

#endif  // MAXSIM_BENCH_MEASUREMENT_H_
