#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/jobs/calibration.h"
#include "engine/jobs/kept_bytes.h"
#include "engine/jobs/ranks.h"
#include "quant/plan.h"
#include "quant/profiler.h"

namespace klens {

struct ProfileOptions;

// What a run has measured and sampled so far, each piece under a name of its own, so that an
// interrupted run can go on: a text file that grows by a line for each piece as it is finished.
// Nothing but the piece at work is lost, however the process ends. Safe from several threads.
// Where several ranks share the run, it is also how they tell each other: share() makes what each
// has kept known to all, and the first writes it down for them.
class Journal {
 public:
  // Keeps nothing where path is "". `run` identifies all that pieces depend on beyond their names;
  // resume: takes up what is there, else the file begins anew with the first piece. Throws Error
  // for a file that is damaged, or of another run. ranks outlive this; all but the first have no
  // file, and path is not looked at there.
  Journal(std::string path, std::string run, bool resume, Ranks& ranks = no_others());
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // What an earlier run kept under the name, or, since then, a rank, up to the last share().
  const std::string* find(const std::string& name) const;
  // Throws Error (kIo) if it cannot be written.
  void keep(const std::string& name, const std::string& value);

  // Ranks exchange what they have kept. As Ranks::exchange, to be called equally often on each.
  void share();
  Ranks& ranks() const { return ranks_; }

  // Of this process alone; in PATH.data.
  const std::shared_ptr<KeptBytes>& bytes() const { return bytes_; }

 private:
  static Ranks& no_others();
  void load();
  void open(bool anew);
  void put(const std::string& line);  // opens the file first where it is not
  void write(const std::string& line);

  std::string path_, run_;
  Ranks& ranks_;
  mutable std::mutex mutex_;                  // of what follows
  std::map<std::string, std::string> found_;  // by the name's hash; none goes again
  std::string unshared_;                      // lines that other ranks do not have
  int fd_ = -1;
  std::shared_ptr<KeptBytes> bytes_;
};

// The journal of a profile's options; "" as their state path gives one that keeps nothing.
// more: what else the run depends on. With several ranks, throws Error where they are not about the
// same run.
std::unique_ptr<Journal> open_journal(const Model& model, const ProfileOptions& options,
                                      Ranks& ranks, const std::string& more = "");
std::unique_ptr<Journal> open_journal(const Model& model, const ProfileOptions& options,
                                      const std::string& more = "");

// Scores by window and student, around a plan or, without one, the model itself.
class JournalScores : public KeptScores {
 public:
  JournalScores(Journal& journal, const Plan* base);
  std::optional<WindowScore> find(std::span<const int32_t> window,
                                  const Student* student) const override;
  void keep(std::span<const int32_t> window, const Student* student,
            const WindowScore& score) override;

 private:
  std::string name(std::span<const int32_t> window, const Student* student) const;

  Journal& journal_;
  std::string base_;
};

// Numbers under a name; none where there are not `count` of them.
std::optional<std::vector<double>> find_numbers(const Journal& journal, const std::string& name,
                                                size_t count);
void keep_numbers(Journal& journal, const std::string& name, std::span<const double> numbers);

// Token ids under a name.
std::optional<std::vector<int32_t>> find_ids(const Journal& journal, const std::string& name);
void keep_ids(Journal& journal, const std::string& name, std::span<const int32_t> ids);

}  // namespace klens
