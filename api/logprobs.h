/* logprobs.h - log probabilities in OpenAI's two shapes: of chat, and of completions ("text"). */
#ifndef API_LOGPROBS_H
#define API_LOGPROBS_H

#include "engine/engine.h"

enum { LOGPROB_PARTS = 4 };

/* Tokens gathered for one choice, as JSON already. Zero-initialised is empty. */
struct logprobs {
    struct buf part[LOGPROB_PARTS]; /* items of the arrays, separated by commas */
    int64_t offset;                 /* of the next token in the text, in characters */
    int n;
};

void logprobs_add_chat(struct logprobs *l, const struct model *m, const struct token_info *t);
void logprobs_add_text(struct logprobs *l, const struct model *m, const struct token_info *t);
/* The object with what was gathered. */
void logprobs_write_chat(const struct logprobs *l, struct buf *out);
void logprobs_write_text(const struct logprobs *l, struct buf *out);
/* Text shape: the echoed prompt and the tokens it became, which need not be spelled in it (BOS). */
void logprobs_add_prompt(struct logprobs *l, const struct model *m, struct bytes text,
                         const struct event *e);
void logprobs_reset(struct logprobs *l); /* after a chunk; the offset goes on */
void logprobs_clear(struct logprobs *l);

#endif
