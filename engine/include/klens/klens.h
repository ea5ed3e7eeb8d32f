/* klens: runs, profiles and quantises Mamba, Mamba-2 and attention-hybrid language models.

   1. Handles are opaque. A klens_model, a klens_tokenizer and a klens_grammar are read-only once
   open and may be used by many threads at once. A klens_session, klens_sampler, klens_decoder or
   klens_grammar_state belongs to one thread at a time. All of them keep alive what they were made
   of: handles may be freed in any order. Any number of models may be open at once; each has its own
   threads and options, and none knows of another: nothing that a call sets outlives its handle.
   Functions without a klens_error take handles that are not NULL, *_free apart, and cannot fail.
   2. A function that can fail returns a klens_status. On failure its outputs are untouched, and
   *error, if given, holds one line that names the file, the tensor or option, and the cure. Nothing
   is printed, nothing aborts or exits because of input or for want of memory, no C++ exception
   leaves the library. (For that, 1.25 MiB are held back from the first call on; a
   std::new_handler hands them out where memory runs out, and then calls the one that was there.)
   3. The caller frees what *_open, *_new and *_fork return, by the *_free of that type; strings
   returned through char** by klens_string_free; id lists by klens_ids_free. All of them accept
   NULL. Pointers obtained in any other way are borrowed and stay valid until the next call on the
   same handle.
   4. Set `size` in every options struct to its sizeof. Zero in any other field means the default
   that the field's comment names. A NULL options pointer means all defaults. Structs grow at their
   end: one of an older caller, which is smaller, has defaults in what it lacks; one of a newer
   caller is taken if all that this library does not know is zero, else refused. Options within
   options are pointers, with a `size` of their own.
   5. Text is UTF-8; invalid bytes are read as U+FFFD. Token ids are int32_t. Logits are FP32, one
   per vocabulary entry. KL divergences are nats per token. Reports are JSON objects as text.
   6. Versions are semantic (semver.org). PATCH: nothing here has changed. MINOR: something was
   added: a function, a field at a struct's end, a name in a table, a key in a report; programs run
   on as they are, unbuilt. MAJOR: a program may have to be changed; the library's SONAME then
   changes with it. A program needs a library of its own MAJOR, and of its MINOR or a later one.
 */
#ifndef KLENS_H
#define KLENS_H

#include <stddef.h>
#include <stdint.h>

/* Of this header. klens_version is that of the library, which may be newer. */
#define KLENS_VERSION_MAJOR 1
#define KLENS_VERSION_MINOR 0
#define KLENS_VERSION_PATCH 0

#ifndef KLENS_API
#define KLENS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct klens_model klens_model;
typedef struct klens_tokenizer klens_tokenizer;
typedef struct klens_session klens_session;
typedef struct klens_sampler klens_sampler;
typedef struct klens_decoder klens_decoder;
typedef struct klens_prefix_cache klens_prefix_cache;
typedef struct klens_grammar klens_grammar;
typedef struct klens_grammar_state klens_grammar_state;

typedef enum klens_status {
  KLENS_OK = 0,
  KLENS_BAD_ARGUMENT = 1, /* the call itself is wrong */
  KLENS_IO = 2,           /* a file cannot be read or written */
  KLENS_BAD_FILE = 3,     /* a file is damaged or not what it claims to be */
  KLENS_UNSUPPORTED = 4,  /* a sound file, but an architecture, format or device this build lacks */
  KLENS_NO_MEMORY = 5,
  KLENS_INTERRUPTED = 6, /* a progress function asked to stop */
  KLENS_INTERNAL = 7     /* a bug in klens */
} klens_status;

typedef struct klens_error {
  klens_status status;
  char message[1020]; /* one line, NUL-terminated, without a trailing newline */
} klens_error;

/* Of the library: "MAJOR.MINOR.PATCH". */
KLENS_API const char* klens_version(void);
/* The instruction set in use: "scalar", "avx2", "avxvnni", "avx512" or "amx" (KLENS_ISA can lower
 * it). */
KLENS_API const char* klens_isa(void);
/* Frees what a char** gave. */
KLENS_API void klens_string_free(char* text);
/* Frees what klens_tokenize gave. */
KLENS_API void klens_ids_free(int32_t* ids);

typedef struct klens_progress {
  const char* stage;       /* what is being done, e.g. "profile" */
  double fraction;         /* 0 to 1 */
  double seconds_left;     /* of the stage, an estimate; negative while unknown */
  double job_seconds_left; /* of the whole job, a rougher one; negative where there is none */
  int64_t job_bytes; /* of memory that the job holds at most, beside the model's file; 0: unknown */
} klens_progress;

/* Called now and then, from the calling thread or a worker, never from two at once; anything but 0
   asks the call to end with KLENS_INTERRUPTED as soon as it can without losing work. */
typedef int (*klens_progress_fn)(void* user, const klens_progress* progress);

/* Told what a person may want to know of something that went well: one line of UTF-8 without a
   newline, which names the file. Called from the thread that made the call, before it returns. */
typedef void (*klens_notice_fn)(void* user, const char* line);

/* The names that options, files and reports use: JSON arrays, in the order in which to list them.
   "about" is a line for a help text. Borrowed for as long as the library is loaded; NULL only if
   there is no memory.
   Formats, most precise first: [{"name","about","bits" (per weight of a large matrix, scales
   counted),"candidate" (measured where no formats are named),"base" (true of one: a candidate of
   every unit),"colour" (for maps, one of a terminal's 256)}] */
KLENS_API const char* klens_formats(void);
/* [{"name","about","usual" (true of one: how units are made unless another is named)}]; the first
   is meant by files that name none. */
KLENS_API const char* klens_quantizers(void);
/* [{"name","about","better" ("lower", "higher" or "neither"),"of" ("candidate" or "unit":
   whatever it becomes)}]; the first is what plans add up. */
KLENS_API const char* klens_metrics(void);
/* [{"name","about","takes" ("budget" or "format": one for every unit),"finds_outliers" (see
   klens_outliers)}]; the first is the default. */
KLENS_API const char* klens_plan_methods(void);

/* Where models can run on this machine: [{"backend" (for klens_model_options),"name","driver",
   "problem" (why it cannot be used; null: it can),"best" (what "cpu" or "opencl" alone means),
   "memory" (bytes),"units" (cores, or compute units),"features":[{"name","about","has","uses"
   (KLENS_ISA and KLENS_OPENCL_FEATURES leave some out)}]}] */
KLENS_API klens_status klens_devices(char** json, klens_error* error);
/* What devices of this process do otherwise than klens_devices says, since a driver failed to
   compile it or computed it wrongly: a line each, "" if nothing. Known when it was first used. */
KLENS_API klens_status klens_device_notes(char** text, klens_error* error);

/* ---- models ---------------------------------------------------------------------------------- */

typedef enum klens_activations {
  KLENS_ACTIVATIONS_INT8 = 0, /* INT8 and INT4 units run on integer dot products */
  KLENS_ACTIVATIONS_F32 = 1,  /* the same weights with FP32 activations */
  KLENS_ACTIVATIONS_BF16 = 2  /* as INT8, and FP16 and BF16 checkpoints multiply in BF16 wherever
                                 CPUs are faster so, not in prompts of sessions alone: to measure
                                 what that loses */
} klens_activations;

typedef enum klens_kv {
  KLENS_KV_DEFAULT = 0, /* FP16; FP32 where weights or activations are FP32 throughout */
  KLENS_KV_F32 = 1,
  KLENS_KV_FP16 = 2,
  KLENS_KV_INT8 = 3 /* one scale per position and head; Mamba-2's states are FP16 */
} klens_kv;

typedef struct klens_model_options {
  size_t size;
  int32_t threads; /* 0: one per core this process may use, which is also the most */
  klens_activations activations;
  const char* backend;    /* NULL or "cpu"; "opencl", or "opencl:1": see klens_devices */
  int32_t verify;         /* not 0: check the checksums of a .klens file while opening it */
  klens_kv kv;            /* how attention keeps keys and values, and Mamba-2 its states */
  klens_notice_fn notice; /* NULL: nobody is told. While opening: parts left out, a tokenizer that
                             cannot be read, stop tokens that the vocabulary lacks; while sessions
                             of the model are fed: keys and values kept in FP32 from now on */
  void* notice_user;      /* for notice; must live as long as the model and all made of it */
  const char* chat_template; /* Jinja, in place of the model's own; NULL: the model's */
  int32_t gpu_layers; /* with a backend other than "cpu": how many of the first layers, as the
                         checkpoint counts them, and the embedding it runs; the CPU runs the others
                         and the head. 0, or as many as there are: all; negative: none. Jobs that
                         measure single matrices (profile, quantize, sweep) want all */
} klens_model_options;

/* path: a checkpoint folder (config.json, *.safetensors or pytorch_model*.bin, tokenizer.json), a
   .klens or a .gguf file. */
KLENS_API klens_status klens_model_open(const char* path, const klens_model_options* options,
                                        klens_model** model, klens_error* error);
/* Sessions, caches and decoders made of the model live on. */
KLENS_API void klens_model_free(klens_model* model);
/* Logits per position; ids are from 0 to one less. */
KLENS_API int32_t klens_model_vocab(const klens_model* model);
/* Floats of a hidden state, and of a vector of klens_embed ("d_model" of klens_inspect). */
KLENS_API int32_t klens_model_hidden_size(const klens_model* model);
/* Of a model that is quantised already, "q4_1 in 210 of 211 matrices"; else "". What is measured
   against such a model says nothing of the one it was made from. Borrowed: lives as long as the
   model. */
KLENS_API const char* klens_model_quantised(const klens_model* model);
/* Parts of the checkpoint that no text's logits need, "153 tensors of model.visual, 15 of mtp"; ""
   where there are none. Borrowed: lives as long as the model. */
KLENS_API const char* klens_model_left_out(const klens_model* model);
/* Tokens that an attention model was trained on at once, as its config or GGUF says; it may predict
   worse after more. 0: not said, or a model of state spaces alone, which has no such limit. */
KLENS_API int64_t klens_model_context_length(const klens_model* model);
/* Threads that compute for it, the caller's among them. */
KLENS_API int32_t klens_model_threads(const klens_model* model);
/* What computes, for people: "cpu avx2", or a device of OpenCL with its driver and what is used of
   it. Borrowed: lives as long as the model. */
KLENS_API const char* klens_model_device(const klens_model* model);
/* 1 if the token ends a turn, so that generation stops; else 0, for any id. */
KLENS_API int klens_model_is_eos(const klens_model* model, int32_t id);
/* The token that a text begins with, as config.json says (bos_token_id); -1: it does not. A
   tokenizer may add it or not. */
KLENS_API int32_t klens_model_bos(const klens_model* model);
/* NULL if the model came without one, or with one that this build cannot read. Borrowed: lives as
   long as the model. */
KLENS_API const klens_tokenizer* klens_model_tokenizer(const klens_model* model);
/* Why the model's tokenizer cannot be read; NULL if it can, or there is none. The model runs all
   the same, on ids. Borrowed: lives as long as the model. */
KLENS_API const char* klens_model_tokenizer_error(const klens_model* model);
/* What a file holds, without running it: {"architecture","parameters","bytes","bpw","file_bytes",
   "vocab","d_model","context_length" (null: none),"layers" (as the checkpoint counts them),"blocks"
   (residual steps),"stored_types" (tensors by type, {"q4_1":60,...}),"tied_head",
   "left_out" (parts that no text's logits need, as klens_model_left_out),"tokenizer" (whether there
   is one),"tokenizer_error" (why it cannot be used; null: it can),
   "stop_tokens":[{"id","text","from"}],"missing_stop_tokens":[{"id" (null: only its text is
   named),"text","from"}] (named, but not in the vocabulary),"units":[{"name","kind",
   "layer" (null: in none),"block","rows","cols","format","quantizer",
   "bytes"}],"plan","provenance","checks"}. verify: also the checksum of every tensor. */
KLENS_API klens_status klens_inspect(const char* path, int verify, char** json, klens_error* error);

/* ---- text and tokens ------------------------------------------------------------------------- */

/* path: a folder that holds tokenizer.json, that file itself, a .klens or a .gguf file. */
KLENS_API klens_status klens_tokenizer_open(const char* path, klens_tokenizer** tokenizer,
                                            klens_error* error);
KLENS_API void klens_tokenizer_free(klens_tokenizer* tokenizer);
/* The ids of a text of text_bytes bytes, which may hold NUL: *ids [*count], for klens_ids_free.
   text may be NULL if text_bytes is 0. add_special: with the special tokens (BOS, ...) that the
   tokenizer's template adds. */
KLENS_API klens_status klens_tokenize(const klens_tokenizer* tokenizer, const char* text,
                                      size_t text_bytes, int add_special, int32_t** ids,
                                      size_t* count, klens_error* error);
/* The text of ids [count]. Ids that the tokenizer has no token for are left out, and special tokens
   where skip_special says so. Texts that are given end at their first NUL. */
KLENS_API klens_status klens_detokenize(const klens_tokenizer* tokenizer, const int32_t* ids,
                                        size_t count, int skip_special, char** text,
                                        klens_error* error);
/* A streaming decoder: the text of ids that come one at a time, in whole UTF-8 characters.
   skip_special: without special tokens. */
KLENS_API klens_status klens_decoder_new(const klens_tokenizer* tokenizer, int skip_special,
                                         klens_decoder** decoder, klens_error* error);
KLENS_API void klens_decoder_free(klens_decoder* decoder);
/* *text (NUL-terminated, borrowed) is what can be shown after this id; it may be empty. */
KLENS_API klens_status klens_decoder_push(klens_decoder* decoder, int32_t id, const char** text,
                                          klens_error* error);
/* What is left (NUL-terminated, borrowed, may be empty); the decoder starts anew. */
KLENS_API klens_status klens_decoder_finish(klens_decoder* decoder, const char** text,
                                            klens_error* error);
/* The prompt that the model's chat template makes of messages: [{"role","content"}, ...] as JSON
   text, or an object with that list as "messages" and what else the template may know: "tools",
   "documents", "enable_thinking", ... KLENS_UNSUPPORTED if the model has no chat template, or
   several and none of them is the default. *text is for klens_string_free. */
KLENS_API klens_status klens_chat_prompt(const klens_model* model, const char* messages_json,
                                         int add_generation_prompt, char** text,
                                         klens_error* error);
/* 1 if klens_chat_prompt can make prompts for it; else 0. */
KLENS_API int klens_model_has_chat_template(const klens_model* model);

/* ---- sessions -------------------------------------------------------------------------------- */

/* Where a text is cut. Tokens may be fed in parts, and a session may go on from a checkpoint: if
   every cut is at a position that is a multiple of 64, the logits are, bit for bit, those of the
   same tokens fed at once. Other cuts may show in the rounding of Mamba-2's states, and a token
   that is fed alone, as while generating, in that of Mamba-2 and of attention over more than 2048
   keys; elsewhere they do not show either. What else is fed at the same time never shows. Dynamic
   NTK rotation, which depends on the length that is known, is apart. */

typedef struct klens_session_options {
  size_t size;
  int32_t batch;            /* tokens of a prompt processed at once, 0: 512; rounded up to a
                               multiple of 64 */
  int32_t checkpoints;      /* kept at most, the oldest is forgotten; 0: 16 */
  int32_t checkpoint_every; /* tokens between those that klens_session_prompt makes on its way; 0:
                               only one, at the last multiple of batch */
  int64_t checkpoint_bytes; /* memory of all checkpoints at most, the oldest is forgotten; 0: 512
                               MiB, negative: none are kept */
} klens_session_options;

/* A sequence at position 0. */
KLENS_API klens_status klens_session_new(klens_model* model, const klens_session_options* options,
                                         klens_session** session, klens_error* error);
KLENS_API void klens_session_free(klens_session* session);
/* Back to position 0, as new. */
KLENS_API klens_status klens_session_reset(klens_session* session, klens_error* error);
/* An independent copy, without the progress function: how a shared prompt is reused. */
KLENS_API klens_status klens_session_fork(const klens_session* session, klens_session** copy,
                                          klens_error* error);
/* Tokens fed so far. */
KLENS_API int64_t klens_session_position(const klens_session* session);
/* Those tokens: [klens_session_position], borrowed. */
KLENS_API const int32_t* klens_session_ids(const klens_session* session);
/* The session's memory (states, caches, checkpoints), in bytes. */
KLENS_API size_t klens_session_bytes(const klens_session* session);
/* Layers whose keys or values left what FP16 holds (65504) and are kept in FP32 since. */
KLENS_API int32_t klens_session_wide_caches(const klens_session* session);
/* Writes tokens, state and checkpoints to a file and reads them back into a session of the same
   model: a continuation is bit-equal. The file carries a checksum: a damaged one is refused. A
   failed load leaves the session as it was. */
KLENS_API klens_status klens_session_save(const klens_session* session, const char* path,
                                          klens_error* error);
KLENS_API klens_status klens_session_load(klens_session* session, const char* path,
                                          klens_error* error);
/* From now on, progress (NULL: none) is called between the passes of every call that feeds this
   session, one pass for each `batch` tokens, with the stage "prompt". Where it asks to stop,
   the call ends with KLENS_INTERRUPTED, and the session holds what was fed until then: its position
   says how much. Feed it the rest, or go back. */
KLENS_API void klens_session_set_progress(klens_session* session, klens_progress_fn progress,
                                          void* user);
/* Feeds count (at least 1) tokens; computes the logits after the last one only. On failure the
   session is as it was, or, if a computation failed midway, reset to position 0. */
KLENS_API klens_status klens_session_eval(klens_session* session, const int32_t* ids, size_t count,
                                          klens_error* error);
/* As eval, and writes the logits after every token to logits [count][vocab]: of an interrupted
   call, those of the tokens that were fed. */
KLENS_API klens_status klens_session_eval_all(klens_session* session, const int32_t* ids,
                                              size_t count, float* logits, klens_error* error);
/* Feeds `sessions` different sessions of one model together: ids[i] are counts[i] (at least 1)
   tokens for session i. Prompts and single tokens may be mixed. They share each pass over the
   weights, and decoding gives each session the bits it would get alone. On failure as
   klens_session_eval, for all; but where the logits of some are not finite, only those are reset.
   Each session's progress function is told of all their tokens together; any may stop the call. */
KLENS_API klens_status klens_sessions_eval(klens_session* const* sessions,
                                           const int32_t* const* ids, const size_t* counts,
                                           size_t session_count, klens_error* error);
/* One round of that: a single pass, which feeds the next tokens of each session as far as one pass
   has room (the first session's batch; single tokens always have it), for callers that change who
   is fed between passes. counts[i] may be 0; all that is known of a session's next tokens should
   be given. fed[i] becomes the number of tokens of session i that were fed; give it the others
   next. The logits are there once all were. statuses[i] is KLENS_OK, or why session i alone was
   reset to position 0 (KLENS_BAD_FILE: its logits are not finite). The call fails as
   klens_session_eval does, for all. Progress functions are not called: a caller that stops makes no
   further round. */
KLENS_API klens_status klens_sessions_round(klens_session* const* sessions,
                                            const int32_t* const* ids, const size_t* counts,
                                            size_t session_count, size_t* fed,
                                            klens_status* statuses, klens_error* error);
/* The logits [vocab] after the last token fed, borrowed; NULL at position 0, and after going back
   to a position without a checkpoint. They lie at one address until the session is freed; what lies
   there changes when the session is fed, reset, loaded, or goes back. */
KLENS_API const float* klens_session_logits(const klens_session* session);

/* Going back. The state of an SSM cannot be undone: a session goes back to where a checkpoint was
   made, and to the beginning; one of a model that only attends, anywhere its windows reach. This
   makes a checkpoint at the session's position, with its logits. */
KLENS_API klens_status klens_session_checkpoint(klens_session* session, klens_error* error);
/* The largest position up to `position` that the session can go back to. */
KLENS_API int64_t klens_session_reachable(const klens_session* session, int64_t position);
/* Goes there; *reached (may be NULL) says where that is. Later checkpoints are forgotten. */
KLENS_API klens_status klens_session_rewind(klens_session* session, int64_t position,
                                            int64_t* reached, klens_error* error);
/* Makes the session one that was fed exactly these tokens: goes back to where it still agrees,
   feeds the rest, and leaves checkpoints: one at the end, so that the same prompt is there again
   whatever was generated after it, and those of checkpoint_every. *reused (may be NULL): tokens
   not fed again. Where a chat template drops parts of earlier answers, as thoughts, call this
   with the prompt without the generation prompt first and then with it: what the next turn shares
   with this one ends there. */
KLENS_API klens_status klens_session_prompt(klens_session* session, const int32_t* ids,
                                            size_t count, int64_t* reused, klens_error* error);

/* Speculation without a second model. What follows a text is often what followed the same words
   before: *ids receives a draft of up to `most` tokens to follow the session's and `next`, *count
   how many: the longer the text's end stood somewhere before, the more; 0 where its last two tokens
   are new. More than 7 at once seldom pay. ids: [most]. */
KLENS_API klens_status klens_session_draft(const klens_session* session, int32_t next, size_t most,
                                           int32_t* ids, size_t* count, klens_error* error);
/* Feeds a token and count - 1 drafts of what follows it in one pass over the weights. The logits
   after each, [count][vocab], are bit for bit those of feeding one token at a time, so that
   choosing from them one after the other, as long as the choice is the next draft, makes the same
   text. *fed: how many were fed, from the first on; less than count where the arithmetic fails at a
   draft. Until it is fed again the session can be rewound to behind any of them. count: at most 64.
   On failure as klens_session_eval; KLENS_UNSUPPORTED for a model on another device than the
   CPU. */
KLENS_API klens_status klens_session_eval_drafts(klens_session* session, const int32_t* ids,
                                                 size_t count, float* logits, size_t* fed,
                                                 klens_error* error);

/* Prompts that were read, kept for the next that begin alike, in at most max_bytes of memory (0: 1
   GiB). May be used by many threads at once. Keeps its model alive. */
KLENS_API klens_status klens_prefix_cache_new(klens_model* model, size_t max_bytes,
                                              klens_prefix_cache** cache, klens_error* error);
KLENS_API void klens_prefix_cache_free(klens_prefix_cache* cache);
/* klens_session_prompt, from the kept prompt that agrees furthest; the result is kept. */
KLENS_API klens_status klens_prefix_cache_prompt(klens_prefix_cache* cache, klens_session* session,
                                                 const int32_t* ids, size_t count, int64_t* reused,
                                                 klens_error* error);
/* The same in parts, for callers that feed prompts beside other sessions (klens_sessions_round).
   take makes the session the longest beginning of ids that is kept, cut at a multiple of 64,
   whatever it was before: feed it ids from *reused on, none if that is count. *shared is how many
   ids some kept session begins with, at least *reused: a place for a checkpoint. Both may be NULL.
   keep keeps a copy of the session, checkpoints included. If all sessions were kept, and
   checkpoints made, at multiples of 64 of what was fed as prompts, never after a token that was fed
   alone, then the logits are, bit for bit, those without the cache. */
KLENS_API klens_status klens_prefix_cache_take(klens_prefix_cache* cache, klens_session* session,
                                               const int32_t* ids, size_t count, int64_t* reused,
                                               int64_t* shared, klens_error* error);
KLENS_API klens_status klens_prefix_cache_keep(klens_prefix_cache* cache,
                                               const klens_session* session, klens_error* error);
/* The memory of what is kept, in bytes. */
KLENS_API size_t klens_prefix_cache_bytes(const klens_prefix_cache* cache);

/* ---- sampling -------------------------------------------------------------------------------- */

typedef struct klens_sampler_options {
  size_t size;
  float temperature;     /* 0: greedy (the largest logit, the smaller id on ties) */
  int32_t top_k;         /* keep the k likeliest; 0: all */
  float top_p;           /* keep the likeliest that sum to p; 0 or 1: all */
  float min_p;           /* keep those with at least min_p times the largest probability; 0: all */
  float repeat_penalty;  /* logits of recent tokens: > 0 are divided, < 0 multiplied by it; 0 or 1:
                            off */
  int32_t repeat_last_n; /* how many recent tokens; 0: 64 */
  uint64_t seed;         /* the same seed gives the same choices */
} klens_sampler_options;

/* Knows no model: one sampler may choose for any session, of one thread at a time. */
KLENS_API klens_status klens_sampler_new(const klens_sampler_options* options,
                                         klens_sampler** sampler, klens_error* error);
/* Ids that this tokenizer has no token for, as where a model's vocabulary is padded, are never
   chosen from now on. NULL: all ids may be. */
KLENS_API klens_status klens_sampler_use_tokenizer(klens_sampler* sampler,
                                                   const klens_tokenizer* tokenizer,
                                                   klens_error* error);
KLENS_API void klens_sampler_free(klens_sampler* sampler);
/* Counts a token (of the prompt, say) as recent, for the repeat penalty. */
KLENS_API void klens_sampler_accept(klens_sampler* sampler, int32_t id);
/* Chooses the next token from the session's logits and counts it as recent. It is not fed. */
KLENS_API klens_status klens_sampler_sample(klens_sampler* sampler, const klens_session* session,
                                            int32_t* id, klens_error* error);

/* The same from logits [vocab] of the caller, as klens_session_eval_drafts writes them. */
KLENS_API klens_status klens_sampler_sample_logits(klens_sampler* sampler, const float* logits,
                                                   size_t vocab, int32_t* id, klens_error* error);

/* ---- constrained output ---------------------------------------------------------------------- */

typedef enum klens_grammar_kind {
  KLENS_GRAMMAR_GBNF = 0,        /* a grammar in llama.cpp's notation; texts begin with `root`.
                                    %json {...} in it is JSON that the schema allows */
  KLENS_GRAMMAR_JSON_SCHEMA = 1, /* a JSON value that a JSON schema allows */
  KLENS_GRAMMAR_JSON_OBJECT = 2  /* any JSON object; no text is read */
} klens_grammar_kind;

/* A language of texts, made ready for the tokens of a model. What a schema asks for and klens
   cannot enforce is refused by name, and so is a schema or grammar that no text can meet: see
   loaders/grammar/README.md for what there is. `name` stands for the text in messages, which name
   the line of a grammar or the place in a schema; NULL: "grammar" or "schema". KLENS_UNSUPPORTED
   also if the model has no tokenizer, or one whose tokens spell different texts in different
   places. Read-only once made: any number of samplers and states, of any threads, may use it; it
   may be freed before them. */
KLENS_API klens_status klens_grammar_new(const klens_model* model, klens_grammar_kind kind,
                                         const char* text, size_t text_bytes, const char* name,
                                         klens_grammar** grammar, klens_error* error);
KLENS_API void klens_grammar_free(klens_grammar* grammar);

typedef enum klens_grammar_progress {
  KLENS_GRAMMAR_OPEN = 0,     /* the text is not complete, or there is no grammar */
  KLENS_GRAMMAR_COMPLETE = 1, /* the text is in the language; more may follow */
  KLENS_GRAMMAR_FINISHED = 2  /* and nothing may follow but tokens that end a turn */
} klens_grammar_progress;

/* From the next token on, klens_sampler_sample chooses only tokens that keep the text of its own
   choices in the language, and those that end a turn only where it is complete. Special tokens and
   ids without a token are never chosen. What klens_sampler_accept counts is not part of that text.
   Fails, choosing nothing, where no token can follow: stop at KLENS_GRAMMAR_FINISHED; a vocabulary
   may also lack a character that the grammar needs. NULL: no grammar. */
KLENS_API klens_status klens_sampler_use_grammar(klens_sampler* sampler,
                                                 const klens_grammar* grammar, klens_error* error);
KLENS_API klens_grammar_progress klens_sampler_grammar_progress(const klens_sampler* sampler);

/* How far one text is in a language, for callers who choose tokens themselves. Belongs to one
   thread at a time. */
KLENS_API klens_status klens_grammar_state_new(const klens_grammar* grammar,
                                               klens_grammar_state** state, klens_error* error);
KLENS_API klens_status klens_grammar_state_fork(const klens_grammar_state* state,
                                                klens_grammar_state** copy, klens_error* error);
KLENS_API void klens_grammar_state_free(klens_grammar_state* state);
KLENS_API klens_status klens_grammar_state_reset(klens_grammar_state* state, klens_error* error);
/* KLENS_BAD_ARGUMENT, and the state is as it was, if the token may not be next. */
KLENS_API klens_status klens_grammar_state_accept(klens_grammar_state* state, int32_t id,
                                                  klens_error* error);
/* Which ids may be next: id i may if bit i % 64 of bits[i / 64] is set. `words` words are written;
   (klens_model_vocab + 63) / 64 hold all ids. */
KLENS_API klens_status klens_grammar_state_mask(klens_grammar_state* state, uint64_t* bits,
                                                size_t words, klens_error* error);
KLENS_API klens_grammar_progress klens_grammar_state_progress(const klens_grammar_state* state);

/* ---- jobs ------------------------------------------------------------------------------------ */

/* ---- embedding vectors ----------------------------------------------------------------------- */

typedef enum klens_pooling {
  KLENS_POOLING_LAST = 0, /* the hidden state of the text's last token */
  KLENS_POOLING_MEAN = 1  /* the mean of those of all its tokens */
} klens_pooling;

typedef struct klens_embed_options {
  size_t size;
  klens_pooling pooling;
  int32_t normalise; /* not 0: every vector is divided by its L2 norm; one of zeros stays */
  int32_t batch;     /* tokens that one pass has room for, 0: 512; rounded up to a multiple of 64 */
  klens_progress_fn progress;
  void* user;
} klens_embed_options;

/* A vector for each text: the hidden states behind the last block and the final norm, which the
   head is multiplied by to make logits, pooled. ids[i] are counts[i] (at least 1) tokens of text i,
   with the special tokens that the tokenizer adds where the model expects them; vectors
   [text_count][klens_model_hidden_size], FP32. Texts share passes over the weights, in sessions of
   their own, and each gets the bits that it would get alone. Any architecture and backend; whether
   a vector says something depends on what the model was trained for. KLENS_BAD_ARGUMENT for a text
   without tokens and for ids outside the vocabulary, KLENS_BAD_FILE for hidden states that are not
   finite, KLENS_INTERRUPTED; on failure nothing is written. May be called by several threads at
   once on one model. */
KLENS_API klens_status klens_embed(klens_model* model, const int32_t* const* ids,
                                   const size_t* counts, size_t text_count,
                                   const klens_embed_options* options, float* vectors,
                                   klens_error* error);

/* ---- jobs on texts --------------------------------------------------------------------------- */

typedef struct klens_text_options {
  size_t size;
  const char* text; /* the text to score, or NULL with text_bytes 0 where a job allows it */
  size_t text_bytes;
  int32_t ctx;     /* window length in tokens; 0: 512 */
  int32_t windows; /* at most this many windows from the start; 0: all */
  int32_t stride;  /* perplexity: tokens between window starts, overlap is context only; 0: ctx */
  int32_t llama_protocol; /* perplexity: not 0: BOS first, second half of each full window scored */
  klens_progress_fn progress;
  void* user;
} klens_text_options;

/* Of a model on a text: {"tokens" (scored),"windows","nll" (mean, nats per token),"ppl" (its
   exponential),"ppl_stderr","word_ppl","bits_per_byte","tok_s" (tokens fed per second)}.
   KLENS_UNSUPPORTED or KLENS_BAD_FILE if the model has no tokenizer to read the text with. */
KLENS_API klens_status klens_perplexity(klens_model* model, const klens_text_options* options,
                                        char** json, klens_error* error);

/* Divergence of b from a on text, both run side by side:
   {"kl","kl_stderr","kl_p50","kl_p90","kl_p95","kl_p99",
   "kl_p999","kl_max","kl_min","top1_agreement","top1_agreement_stderr","ppl_a","ppl_a_stderr","ppl_b","ppl_b_stderr",
   "ppl_ratio","ppl_ratio_stderr","ln_ppl_ratio_stderr","ppl_difference","delta_p_mean","delta_p_mean_stderr",
   "delta_p_rms","delta_p_rms_stderr","delta_p_p1","delta_p_p5","delta_p_p10","delta_p_p25","delta_p_p50","delta_p_p75","delta_p_p90",
   "delta_p_p95","delta_p_p99","delta_p_max","delta_p_min","tokens","windows","tok_s"}. KL over
   every position, the p of delta_p and the perplexities over those with a next token. */
KLENS_API klens_status klens_compare(klens_model* a, klens_model* b,
                                     const klens_text_options* options, char** json,
                                     klens_error* error);

/* Writes the logits [count][vocab] of a fresh session fed ids [count] as one safetensors tensor
   "logits", FP32. The file is whole or untouched. */
KLENS_API klens_status klens_export_logits(klens_model* model, const int32_t* ids, size_t count,
                                           const char* path, klens_error* error);

/* One of several texts to calibrate on. This struct does not grow. */
typedef struct klens_calibration_text {
  const char* text;
  size_t text_bytes;
  const char* name; /* what the profile says it is; NULL: "text" */
  double weight;    /* windows come from it in proportion; 0: 1 */
} klens_calibration_text;

/* Processes that share a job, as MPI's ranks do: each calls the same function with the same options
   on the same model, does its share, and gets the result that one alone would get, bit for bit. */
typedef struct klens_ranks {
  size_t size;
  int32_t rank;  /* of this process, 0 to count - 1 */
  int32_t count; /* 0 and 1: it is alone */
  /* Takes `bytes` bytes from each rank, as many from all, to all of them: all [count][bytes], by
     rank; waits until every rank has called it, as MPI_Allgather does. Called by the thread that
     called the job, about twice a second. Anything but 0 says that a rank is gone: the job ends
     with KLENS_IO. Where a rank fails, all do, with a message that names it. */
  int (*all_gather)(void* user, const void* own, size_t bytes, void* all);
  void* user;
} klens_ranks;

typedef struct klens_profile_options {
  size_t size;
  const char* text; /* calibration text; NULL: sampled from the model itself */
  size_t text_bytes;
  const char* source_name; /* what the profile says the text is, e.g. the file's name */
  int32_t ctx;             /* window length in tokens; 0: 256 */
  int32_t windows;         /* 0: 32 */
  uint64_t seed;           /* of sampled text */
  const char* formats; /* of klens_formats(), comma-separated; NULL: those marked "candidate" and,
                          for budgets of klens_quantize and klens_sweep that ask for them, smaller
                          ones; the "base" is always added */
  const char* metrics; /* of klens_metrics(), comma-separated; NULL: all */
  const char* state_path; /* where a run keeps what it has measured until the caller, with the
                             profile safely written, removes the file (klens_quantize removes it
                             itself). Large pieces lie in the folder state_path.data, which goes
                             when the call succeeds; NULL: nowhere */
  int32_t resume;         /* not 0: go on from state_path if it is there and of the same run */
  klens_progress_fn progress;
  void* user;
  const char* quantizer; /* of klens_quantizers(), how candidates are made; NULL: the "usual" one */
  int32_t measured; /* formats of a unit, at most, whose KL is measured; that of others is predicted
                       by what the unit's own outputs lose ("predicted": true in profile.json). 0:
                       2; negative: no limit */
  const char* validation_text; /* other text, on which metrics are judged; NULL: none */
  size_t validation_bytes;
  const char* validation_name; /* what "validation" says the text is; NULL: "text" */
  int32_t times; /* not 0: candidates also tell what a decoded token spends on them on this machine,
                    with the model's threads ("decode_us", and "times" for the rest of a token):
                    what klens_plan needs for min_tok_s */
  double text_weight;                       /* of text beside more_texts; 0: 1 */
  const klens_calibration_text* more_texts; /* further calibration texts; their windows and those of
                                               text take turns by weight, until one is used up */
  size_t more_count;
  const klens_ranks* ranks; /* processes that share the run: klens_profile alone takes them. Only
                               rank 0 has a state, of what all have measured: any number may go on
                               from it. NULL: none */
  const char* suffix; /* what a model with one unit changed runs in but for that unit: "exact", as
                         the checkpoint has it; "fast", all in INT8 with activations of 16 bits,
                         compared with such a model, in half the time (exact where the model holds
                         integers of its own, or activations are FP32). NULL: klens_quantize fast,
                         klens_profile and klens_sweep exact */
  int64_t memory;     /* bytes that the run may hold beside the model's file; what it can do without
                         (matrices kept for the next window, sums for several of them in one pass) is
                         kept as far as that allows, and less than it needs is refused at once. 0: what
                         it needs, and 1 GiB */
} klens_profile_options;

/* profile.json (schema version 1). The model's activations option says what is measured. With a
   validation_text, what it measured is measured there too, over as many windows of the same
   length: "validation": {"source","tokens","windows","seed","draws","perplexity" (of the model
   itself),"candidates":[{"unit","format",...,"ppl","delta_ce","kl"}],"agreement":[{"format",
   "with_head","metric","units","with_perplexity" and "with_kl" ({"tau" (Kendall's tau-b of the
   metric and that),"low","high" (95 % of draws of the windows)}; null where not defined)}]}. */
KLENS_API klens_status klens_profile(klens_model* model, const klens_profile_options* options,
                                     char** profile_json, klens_error* error);

typedef struct klens_plan_options {
  size_t size;
  const char* method; /* of klens_plan_methods(); NULL: the first */
  double bpw;         /* one of bpw (bits per weight over the weights of all units, scales counted),
                         file_bytes, max_kl, min_tok_s; 0: not given */
  int64_t file_bytes;
  double max_kl;
  const char* uniform_format; /* for a method that takes a format instead of a budget */
  const char* tensor_types;   /* lines "REGEX=FORMAT": units whose format is given; NULL: none */
  double min_tok_s; /* another budget: decoded tokens per second, at least, of one sequence on the
                       machine where the profile was made, with "times" in it */
} klens_plan_options;

/* plan.json (schema version 1) from the text of a profile.json. */
KLENS_API klens_status klens_plan(const char* profile_json, const klens_plan_options* options,
                                  char** plan_json, klens_error* error);

typedef struct klens_outlier_options {
  size_t size;
  const char* method; /* of klens_plan_methods(), one that finds outliers; NULL: the first such */
  int32_t most;       /* of a module, at most; 0: all */
} klens_outlier_options;

/* The layers that stand out by a planning method's rule, which it gives more bits. scores: the text
   of a profile.json, or of a table of scores by layers in CSV, whose first line names the columns,
   among them "layer", "module" and the method's metric. {"method","metric",
   "modules":[{"module","layers","z" (of each layer: how many deviations its change is from the
   mean one; null: infinitely many)}]} */
KLENS_API klens_status klens_outliers(const char* scores, const klens_outlier_options* options,
                                      char** json, klens_error* error);

/* What orders units are put into by the metrics of a profile.json, which is checked:
   {"units" (that were measured),"metrics":[names],"tau":[[1,...],...] (Kendall's tau-b of each with
   each over units, signs turned such that worse is more; null: one of them tells nothing apart),
   "candidates":[for each unit the place of the candidate that it is ranked by: the smallest that
   was measured; null: none was]} */
KLENS_API klens_status klens_rank_agreement(const char* profile_json, char** json,
                                            klens_error* error);

typedef struct klens_quantize_options {
  size_t size;
  const char* plan_json;                /* a ready plan; or NULL and plan below */
  const klens_plan_options* plan;       /* method, budget, uniform format, tensor types */
  const klens_profile_options* profile; /* how to measure, where the plan asks for it (progress is
                                           taken from here) */
  int32_t dry_run;                      /* not 0: everything but writing the file */
  int32_t no_measure; /* not 0: the finished plan is not measured, and "kl", "kl_stderr",
                         "ppl_before", "ppl_after" and "evaluation" are left out */
  int32_t keep;       /* not 0, and no plan_json, budget or uniform format: units that are in one of
                         klens_formats() keep their bytes, as those of a GGUF in Q4_0, Q4_1, Q5_0, Q5_1,
                         Q8_0 are ("quantizer": "stored"); others become FP16, but for tensor_types. A
                         model that this leaves as it is is not measured */
} klens_quantize_options;

/* Profiles, plans, measures the whole plan, re-measures around it, and writes the model file
   (temporary file, fsync, rename: out_path is whole or untouched). {"bytes" (of the
   file),"bpw","kl","kl_stderr", "ppl_before","ppl_after","evaluation" ("held-out": text
   that no part of the plan was made from; "sampled from the model"; or what it is instead),
   "source_formats" (of a model that is quantised already: with it, not with the model it was
   made from, all figures compare),"inputs_unknown" (true: the plan was given, and no text; its
   quantizers would have lost less if they had seen inputs),"predicted_kl","measured_kl",
   "race" (of a profile made for this plan: {"windows" (measured),"of" (that might have been),
   and, where it ended early, "share" (of the work of all windows, that was done, 0 to 1),
   "regret" (KL of the worse plan from half of those measured over that of the plan from all,
   less 1),"seconds_saved"}),"checked" (where the plan chose formats that were predicted, these
   were measured: {"choices", "least","median","most" of measured over predicted, "taken":
   whether the plan made with that measured better than the one without}),"rounds","measured_tok_s" (of the file,
   where the plan asked for min_tok_s),"plan","units":[as inspect, with "kl"],"seconds","profile"}
 */
KLENS_API klens_status klens_quantize(klens_model* model, const char* out_path,
                                      const klens_quantize_options* options, char** json,
                                      klens_error* error);

typedef struct klens_sweep_options {
  size_t size;
  const char* profile_json; /* a profile of this model; NULL: measured as `profile` says */
  /* How to measure, the journal (state_path, resume), and progress. With a profile that is given,
     its text is the one that it was made from, if it was; else the text to judge by. */
  const klens_profile_options* profile;
  const char* methods; /* of klens_plan_methods(), comma-separated; NULL: all that take a budget */
  const double* bpw;   /* budgets: [bpw_count] bits per weight, then [file_bytes_count] sizes */
  size_t bpw_count;
  const int64_t* file_bytes;
  size_t file_bytes_count;
  int32_t points;   /* where no budgets are given: so many, evenly in bits per weight from the
                       smallest   plan to the "base" format; 0: 12 */
  const char* text; /* text to judge plans by; NULL: windows that the profile did not use */
  size_t text_bytes;
  const char* text_name; /* what the report says the text is */
  int32_t windows;       /* to judge plans by, of the profile's length; 0: 16 */
  int32_t generate;      /* tokens decoded to time a plan; 0: 32, negative: not timed */
  int32_t repetitions;   /* 0: 3; the median counts */
  int64_t packed_bytes;  /* memory for packed units that plans share; 0: 1 GiB */
  int32_t refine;        /* not 0: plans that klens_quantize would measure around are, as it does */
} klens_sweep_options;

/* Makes a plan for each method and budget, and measures it packed in memory. Points that are the
   same plan are measured once; all that is finished is kept in the profile's state_path, which the
   caller removes. {"klens_sweep": 1 (schema version), "tool","model" (as in profile.json),
   "calibration" (as in profile.json),"evaluation":{"text","windows","window","tokens","ppl" (of
   the model itself)},"machine":{"device","isa","threads","generate","repetitions"},
   "source_formats" (as klens_quantize),"methods","points":[{"method","budget","bpw","bytes" (of the
   whole file),"predicted_kl","refined" (times that measuring around it made it another plan; only
   where that was asked),"kl","kl_stderr","ppl","tok_s","tok_s_stddev","plan" (a number; the same
   for points that are the same plan)}, or {"method","budget","refused" (why)}], "profile" (where it
   was measured here)} */
KLENS_API klens_status klens_sweep(klens_model* model, const klens_sweep_options* options,
                                   char** json, klens_error* error);

typedef struct klens_bench_options {
  size_t size;
  int32_t prompt;      /* prefill test: tokens; 0: 512, negative: none */
  int32_t generate;    /* decode test: tokens; 0: 128, negative: none */
  int32_t depth;       /* tokens already in the session */
  int32_t repetitions; /* 0: 5 */
  klens_progress_fn progress;
  void* user;
  int32_t batch; /* sequences that decode together; 0: 1 */
} klens_bench_options;

/* {"isa","threads","batch","depth","weight_bytes" (a decoded token reads), "state_bytes" (of a
   sequence, without keys and values), "read_gb_s" and "integer_gop_s" (what the machine gives to
   these threads, measured in the same run), "first_token_ms","prefill_gop_s" (linear layers;
   a multiply-add counts two),"token_ms" (a decoding step),"decode_gb_s" (weights),
   "tests":[{"name" ("pp512","tg128","tg128 x4 @ d1024"),"tok_s" (median; of all sequences),
   "stddev","samples","shares" (of all threads' time, of one more run: {"linear": 0.8, …,
   "rest": what no step is timed for, and waiting}), with the backend opencl "kernels" (of that run,
   the longest first: [{"kernel","launches","ms","share" (of its time)}], as the driver's events
   tell it)}]} */
KLENS_API klens_status klens_bench(klens_model* model, const klens_bench_options* options,
                                   char** json, klens_error* error);

/* ---- Output files ---- */

typedef struct klens_output_options {
  size_t size;
  const char* ending;        /* the format's own: ".json"; NULL: any name will do */
  const char* const* inputs; /* what the same job reads: files, or folders with all in them */
  size_t input_count;
  int64_t bytes;   /* at least so many will be written; 0: unknown */
  int32_t streams; /* not 0: a device or a pipe will do */
} klens_output_options;

/* Whether a file can be written at path, to ask before a long job. Refused: a name that ends as
   another format's does (.gguf, .safetensors, ...), one of the inputs under any name or link, a
   folder that is missing or cannot be written to, a disk without room. klens_quantize,
   klens_export_logits and klens_session_save ask it themselves, with the model as an input. */
KLENS_API klens_status klens_check_output(const char* path, const klens_output_options* options,
                                          klens_error* error);

/* Writes a file: it is whole or untouched. A link is followed; a device, a pipe or /dev/stdout is
   written to. */
KLENS_API klens_status klens_write_file(const char* path, const void* bytes, size_t count,
                                        klens_error* error);

#ifdef __cplusplus
}
#endif
#endif
