#include "python/bindings/module.h"

namespace klens::python {
namespace {

// A Session, which belongs to one call at a time, and hands out views of its logits.
class OwnedSession {
 public:
  explicit OwnedSession(Session session) : session_(std::move(session)) {}

  // Runs a call on the session without the GIL.
  template <class Call>
  auto use(Call&& call) {
    const InUse in_use(flag_, kBusy);
    return released([&] { return call(session_); });
  }
  // The same for what is too short for that.
  template <class Call>
  auto look(Call&& call) {
    const InUse in_use(flag_, kBusy);
    return call(session_);
  }

 private:
  friend class Together;
  static constexpr const char* kBusy =
      "the session is in use: it belongs to one thread, and to one call, at a time";
  Session session_;
  std::atomic_flag flag_ = ATOMIC_FLAG_INIT;
};

constexpr size_t kMostDrafts = 63;  // klens_session_eval_drafts: 64 with the token before them

using Logits = nb::ndarray<nb::numpy, const float, nb::ndim<1>, nb::c_contig>;
using SomeLogits = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A view, which keeps the session alive: its logits lie at one address.
Logits logits_of(nb::handle self) {
  return nb::cast<OwnedSession&>(self).look([&](const Session& session) {
    const std::span<const float> logits = session.logits();
    if (logits.empty())
      throw_bad_argument(
          "the session has no logits: feed it a token (they are not known at position 0, nor "
          "after going back to where no checkpoint is)");
    return Logits(logits.data(), {logits.size()}, self);
  });
}

Rows eval_all(OwnedSession& self, const Ids& ids, const ProgressCallable& progress) {
  std::vector<float> logits = self.use(
      [&](Session& session) { return session.eval_all(span_of(ids), progress_of(progress)); });
  return rows_of(std::move(logits), span_of(ids).size());
}

// The logits behind those tokens that were fed.
Rows eval_drafts(OwnedSession& self, const Ids& ids) {
  std::vector<float> logits;
  const size_t fed = self.use([&](Session& session) {
    const auto vocab = static_cast<size_t>(session.model().vocab());
    logits.resize(span_of(ids).size() * vocab);
    const size_t count = session.eval_drafts(span_of(ids), logits);
    logits.resize(count * vocab);
    return count;
  });
  return rows_of(std::move(logits), fed);
}

// Several sessions of one call.
class Together {
 public:
  explicit Together(const std::vector<std::tuple<OwnedSession*, Ids>>& feeds) {
    for (const auto& [session, ids] : feeds) {
      if (session == nullptr) throw_bad_argument("a session is None");
      for (const auto& other : in_use_)
        if (other.first == session) throw_bad_argument("a session cannot be fed twice at once");
      in_use_.emplace_back(session, std::make_unique<InUse>(session->flag_, OwnedSession::kBusy));
      feeds_.push_back({&session->session_, span_of(ids)});
    }
  }
  std::span<const Feed> feeds() const { return feeds_; }

 private:
  std::vector<std::pair<OwnedSession*, std::unique_ptr<InUse>>> in_use_;
  std::vector<Feed> feeds_;
};
using Feeds = std::vector<std::tuple<OwnedSession*, Ids>>;

std::vector<std::tuple<size_t, nb::object>> sessions_round(const Feeds& feeds) {
  const Together together(feeds);
  const std::vector<Fed> fed = released([&] { return klens::sessions_round(together.feeds()); });
  std::vector<std::tuple<size_t, nb::object>> result;
  for (const Fed& one : fed)
    result.emplace_back(one.tokens,
                        one.status == KLENS_OK
                            ? nb::none()
                            : error_class(one.status)("the session was reset: its logits are not "
                                                      "finite"));
  return result;
}

void bind_sampler(nb::module_& m) {
  nb::class_<Sampler>(m, "Sampler", "Chooses tokens.")
      .def(
          "__init__",
          [](Sampler* self, float temperature, int32_t top_k, float top_p, float min_p,
             float repeat_penalty, int32_t repeat_last_n, uint64_t seed,
             const std::optional<Tokenizer>& tokenizer, const Grammar* grammar) {
            auto options = sized<klens_sampler_options>();
            options.temperature = temperature;
            options.top_k = top_k;
            options.top_p = top_p;
            options.min_p = min_p;
            options.repeat_penalty = repeat_penalty;
            options.repeat_last_n = repeat_last_n;
            options.seed = seed;
            Sampler made(options);
            if (tokenizer) made.use_tokenizer(tokenizer);
            if (grammar != nullptr) made.use_grammar(grammar);
            new (self) Sampler(std::move(made));
          },
          nb::kw_only(), "temperature"_a = 0.0f, "top_k"_a = 0, "top_p"_a = 1.0f, "min_p"_a = 0.0f,
          "repeat_penalty"_a = 1.0f, "repeat_last_n"_a = 64, "seed"_a = 0,
          "tokenizer"_a = nb::none(), "grammar"_a = nb::none(),
          "temperature: 0 takes the likeliest; top_k, top_p, min_p: what is kept, 0, 1 and 0 are "
          "all; repeat_penalty: 1 is off; tokenizer: ids that it has no token for are never "
          "chosen; grammar: as use_grammar.")
      .def("accept", &Sampler::accept, "id"_a, "Counts a token as recent, for the repeat penalty.")
      .def(
          "sample",
          [](Sampler& self, OwnedSession& session) {
            return session.look([&](Session& of) { return self.sample(of); });
          },
          "session"_a, "The next token, by the session's logits. It is not fed.")
      .def(
          "sample_logits",
          [](Sampler& self, const SomeLogits& logits) {
            return self.sample({logits.data(), logits.size()});
          },
          "logits"_a, "The same by logits [vocab], as Session.eval_drafts gives them.")
      .def(
          "use_grammar", &Sampler::use_grammar, "grammar"_a.none(),
          "From the next token on the text of what is chosen keeps to the grammar, and a turn ends "
          "only where that text is complete; None: anything may be chosen.")
      .def_prop_ro(
          "grammar_progress", [](const Sampler& self) { return name_of(self.grammar_progress()); },
          "How far that text is: see GrammarState.progress. Where it is \"finished\" nothing is "
          "left to choose.");
}

void bind_prefix_cache(nb::module_& m) {
  nb::class_<PrefixCache>(m, "PrefixCache",
                          "Prompts that were read, kept for the next that begin alike. Any number "
                          "of threads may use it.")
      .def(nb::init<const Model&, size_t>(), "model"_a, "max_bytes"_a = 0,
           "max_bytes: of memory; 0 is 1 GiB.")
      .def(
          "prompt",
          [](PrefixCache& self, OwnedSession& session, const Ids& ids,
             const ProgressCallable& progress) {
            return session.use(
                [&](Session& of) { return self.prompt(of, span_of(ids), progress_of(progress)); });
          },
          "session"_a, "ids"_a, "progress"_a = nb::none(),
          "Session.prompt, from the kept prompt that agrees furthest; the result is kept.")
      .def(
          "take",
          [](PrefixCache& self, OwnedSession& session, const Ids& ids) {
            return session.use([&](Session& of) {
              const PrefixCache::Taken taken = self.take(of, span_of(ids));
              return std::tuple(taken.reused, taken.shared);
            });
          },
          "session"_a, "ids"_a,
          "The same in parts, for who feeds prompts beside other sessions: makes the session the "
          "longest beginning of ids that is kept, cut at a multiple of 64, whatever it was before. "
          "(reused, shared): feed it ids[reused:]; a kept session begins with ids[:shared], so "
          "that is a place for a checkpoint.")
      .def(
          "keep",
          [](PrefixCache& self, OwnedSession& session) {
            session.use([&](Session& of) { self.keep(of); });
          },
          "session"_a,
          "Keeps a copy of the session, checkpoints included. If all are kept, and checkpoints "
          "made, at multiples of 64 of what was fed as prompts, what follows has the bits that it "
          "has without the cache.")
      .def_prop_ro("bytes", &PrefixCache::bytes, "The memory of what is kept.");
}

void bind_feeding(nb::class_<OwnedSession>& c) {
  c.def(
       "eval",
       [](OwnedSession& self, const Ids& ids, const ProgressCallable& progress) {
         self.use([&](Session& s) { s.eval(span_of(ids), progress_of(progress)); });
       },
       "ids"_a, "progress"_a = nb::none(),
       "Feeds tokens; `logits` are then those after the last. progress is called between passes; "
       "if what it gives is true, klens.Interrupted is raised and what was fed is kept.")
      .def("eval_all", &eval_all, "ids"_a, "progress"_a = nb::none(),
           "As eval; the logits after every token, [ids, vocab].")
      .def(
          "prompt",
          [](OwnedSession& self, const Ids& ids, const ProgressCallable& progress) {
            return self.use(
                [&](Session& s) { return s.prompt(span_of(ids), progress_of(progress)); });
          },
          "ids"_a, "progress"_a = nb::none(),
          "Makes the session one that was fed exactly these tokens: goes back to where it agrees "
          "and feeds the rest. How many it did not have to feed.")
      .def(
          "draft",
          [](OwnedSession& self, int32_t next, size_t most) {
            if (most > kMostDrafts) throw_bad_argument("most must be from 0 to 63");
            return self.look([&](Session& s) { return s.draft(next, most); });
          },
          "next"_a, "most"_a = 7,
          "What followed the session's tokens and `next`, which is not fed yet, when they came "
          "before: at most so many tokens, often none.")
      .def("eval_drafts", &eval_drafts, "ids"_a,
           "Feeds a token and drafts behind it in one pass; the logits after each, [fed, vocab], "
           "have the bits of feeding them one by one. rewind can go behind any of them until more "
           "is fed.")
      .def_prop_ro("logits", &logits_of,
                   "After the last token fed, [vocab], read-only and not copied: the array shows "
                   "what the session holds, so it changes when the session is fed again; "
                   "logits.copy() keeps them.");
}

void bind_going_back(nb::class_<OwnedSession>& c) {
  c.def(
       "reset", [](OwnedSession& self) { self.use([](Session& s) { s.reset(); }); },
       "Back to position 0, as new.")
      .def(
          "fork",
          [](OwnedSession& self) {
            return new OwnedSession(self.use([](Session& s) { return s.fork(); }));
          },
          "An independent copy.")
      .def(
          "checkpoint", [](OwnedSession& self) { self.use([](Session& s) { s.checkpoint(); }); },
          "Makes a place to go back to.")
      .def(
          "reachable",
          [](OwnedSession& self, int64_t position) {
            return self.look([&](Session& s) { return s.reachable(position); });
          },
          "position"_a, "The largest position up to this one that rewind can reach.")
      .def(
          "rewind",
          [](OwnedSession& self, int64_t position) {
            return self.use([&](Session& s) { return s.rewind(position); });
          },
          "position"_a, "Goes back to there, or to the nearest place before; says where.")
      .def(
          "save",
          [](OwnedSession& self, const std::string& path) {
            self.use([&](Session& s) { s.save(path); });
          },
          "path"_a, "Writes tokens, state and checkpoints to a file.")
      .def(
          "load",
          [](OwnedSession& self, const std::string& path) {
            self.use([&](Session& s) { s.load(path); });
          },
          "path"_a, "Reads them back, into a session of the same model.");
}

}  // namespace

void bind_session(nb::module_& m) {
  nb::class_<OwnedSession> c(m, "Session",
                             "A sequence being read and generated; of one thread at a time.");
  c.def(
       "__init__",
       [](OwnedSession* self, const Model& model, int32_t batch, int32_t checkpoints,
          int32_t checkpoint_every, int64_t checkpoint_bytes) {
         auto options = sized<klens_session_options>();
         options.batch = batch;
         options.checkpoints = checkpoints;
         options.checkpoint_every = checkpoint_every;
         options.checkpoint_bytes = checkpoint_bytes;
         new (self) OwnedSession(released([&] { return Session(model, options); }));
       },
       "model"_a, nb::kw_only(), "batch"_a = 0, "checkpoints"_a = 0, "checkpoint_every"_a = 0,
       "checkpoint_bytes"_a = 0,
       "batch: tokens of a prompt in one pass, 0 is 512; checkpoints, checkpoint_bytes: kept at "
       "most, 0 is 16 and 512 MiB; checkpoint_every: tokens between those that prompt makes.")
      .def_prop_ro(
          "model",
          [](OwnedSession& self) { return self.look([](Session& s) { return s.model(); }); })
      .def_prop_ro(
          "position",
          [](OwnedSession& self) { return self.look([](Session& s) { return s.position(); }); },
          "Tokens fed so far.")
      .def_prop_ro(
          "ids",
          [](OwnedSession& self) {
            return self.look(
                [](Session& s) { return std::vector<int32_t>(s.ids().begin(), s.ids().end()); });
          },
          "Those tokens.")
      .def_prop_ro(
          "bytes",
          [](OwnedSession& self) { return self.look([](Session& s) { return s.bytes(); }); },
          "Its memory: states, caches, checkpoints.")
      .def_prop_ro(
          "wide_caches",
          [](OwnedSession& self) { return self.look([](Session& s) { return s.wide_caches(); }); },
          "Layers whose keys or values are FP32, as FP16 did not hold them.");
  bind_feeding(c);
  bind_going_back(c);
  bind_sampler(m);
  bind_prefix_cache(m);
  m.def(
      "sessions_eval",
      [](const Feeds& feeds) {
        const Together together(feeds);
        released([&] { klens::sessions_eval(together.feeds()); });
      },
      "feeds"_a,
      "Feeds several sessions of one model, [(session, ids), ...], in shared passes over the "
      "weights.");
  m.def("sessions_round", &sessions_round, "feeds"_a,
        "One pass of that: for each session how many of its ids were fed (give it the others "
        "next), and the error it was reset for, or None.");
}

}  // namespace klens::python
