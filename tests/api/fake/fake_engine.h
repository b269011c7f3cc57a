/* fake_engine.h - an engine.h whose jobs do what the test wrote down: texts, log probabilities,
 * errors, and when each becomes visible. Its model's tokens are the 256 bytes, then a few longer
 * ones; its template prints the variables as JSON, so that a test sees what a template would. */
#ifndef TESTS_API_FAKE_FAKE_ENGINE_H
#define TESTS_API_FAKE_FAKE_ENGINE_H

#include "engine/engine.h"

enum {
    FAKE_BOS = 256,   /* "<s>" */
    FAKE_EOS = 257,   /* "</s>" */
    FAKE_HELLO = 258, /* "Hello" */
    FAKE_WORLD = 259, /* " world" */
    FAKE_TWIN = 260,  /* "a": the same text as the byte 'a' */
    FAKE_VOCAB = 261,
    FAKE_CONTEXT = 4096,
};

/* Everything back to the start: READY, an empty script, nothing submitted. All jobs must be put. */
void fake_reset(void);
struct engine *fake_engine(void);
/* What the model's files say of sampling; NULL and 0: nothing. */
void fake_asks(const struct sampling *s, int64_t max_tokens);
void fake_state(enum engine_state state, const char *stage, double done);

/* The script that jobs submitted from now on run; the events are borrowed. A text event without
 * tokens gets one for each of its bytes; EVENT_DONE without usage gets the real one. */
void fake_script(const struct event *event, int n);
/* false: events wait for fake_release. */
void fake_automatic(bool on);
/* Adds the next event of job i (in order of submission) to its queue; false: it has none left. */
bool fake_release(int i);
/* The next job_next that finds its queue empty is followed at once by fake_release of that job: an
 * event that comes just behind the look. */
void fake_release_behind_look(void);
/* Jobs from the k-th on (0: the next) fail to be submitted. */
void fake_refuse(int k, enum status s, const char *message);

struct fake_job { /* what was submitted */
    char prompt[4096];
    int n_prompt;
    int32_t prompt_id[64]; /* the first ones */
    struct job_spec spec;  /* numbers; the lists are below */
    char stop[8][32];
    int32_t stop_token[8];
    struct logit_bias bias[8];
    bool cancelled, put;
};
int fake_n_jobs(void);
const struct fake_job *fake_job(int i);
struct engine_stats *fake_stats(void);

#endif
