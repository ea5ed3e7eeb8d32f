#pragma once
#include <map>
#include <utility>
#include <vector>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/students.h"

namespace klens {

// A StudentRunner among several ranks: each runs its share of the students, and learns the scores
// of the others from the journal, by which they tell each other about twice a second, in run().
// What a window begins with each does itself: it is one pass of very many. Alone, it is the runner.
class SharedRunner : public ProfileSubject {
 public:
  // kept: of journal. All three outlive this.
  SharedRunner(StudentRunner& runner, Journal& journal, JournalScores& kept)
      : runner_(runner), journal_(journal), kept_(kept) {}

  WindowScore begin_window(std::span<const int32_t> ids) override;
  // on_done is called on every rank for every student, by the calling thread where there are
  // several ranks.
  std::vector<WindowScore> run(std::span<const Student> students, const OnDone& on_done) override;

 private:
  // Whose each student is: the same in all windows, as weights are made once.
  void share_out(std::span<const Student> students);
  size_t owner(const Student& student) const { return owners_.at({student.unit, student.choice}); }

  StudentRunner& runner_;
  Journal& journal_;
  JournalScores& kept_;
  std::vector<int32_t> ids_;
  std::map<std::pair<size_t, Choice>, size_t> owners_;
  std::map<size_t, std::vector<double>> work_;  // by Student::every, of each rank, per window
};

}  // namespace klens
