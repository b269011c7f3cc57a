/* tokens.h - a tokenizer that was made of foreign bytes encodes a text, and decodes what comes. */
#ifndef TESTS_FUZZ_TOKENS_H
#define TESTS_FUZZ_TOKENS_H

#include "engine/text/tokenizer.h"

/* `s`: how reading it ended. Ends the program where one of both is not as it must be; frees `t`. */
void tokens_try(enum status s, struct tokenizer *t);

#endif
