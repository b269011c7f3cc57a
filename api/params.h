/* params.h - the request fields that chat and completions share: sampling, limits, stops,
 * streaming. */
#ifndef API_PARAMS_H
#define API_PARAMS_H

#include "api/fields.h"
#include "engine/engine.h"

struct params {
    struct opt_text model;
    struct opt_int max_tokens, max_completion_tokens, max_output_tokens, min_tokens, n, seed, top_k;
    struct opt_number temperature, top_p, min_p, presence, frequency, repetition;
    struct opt_bool stream, include_usage, ignore_eos, include_stop, skip_special;
    struct opt_text response_type;
    const struct json *stop, *stop_token, *logit_bias;
};

enum status params_read(const struct json *body, struct params *p);
/* Everything of a spec but the prompt and the logprobs. What it points to is the arena's or the
 * body's. An explicit max_tokens of 0 asks for no token at all: the prompt is only scored. */
enum status params_spec(const struct params *p, const struct model *m, struct arena *a,
                        struct job_spec *out);
/* The smallest of the aliases of max_tokens; -1: none given. */
int64_t params_max_tokens(const struct params *p);

#endif
