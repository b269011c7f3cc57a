/* chat.h - POST /v1/chat/completions. */
#ifndef API_CHAT_H
#define API_CHAT_H

#include "api/call.h"

enum status chat_begin(struct api *a, struct call *c);

#endif
