/* tokenize.h - POST /tokenize and /detokenize. */
#ifndef API_TOKENIZE_H
#define API_TOKENIZE_H

#include "api/call.h"

enum status tokenize_text(struct api *a, struct call *c);
enum status tokenize_back(struct api *a, struct call *c);

#endif
