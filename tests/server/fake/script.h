/* script.h - a scripted api under the HTTP server: what a call does is chosen by its path, and a
 * producer thread plays the engine.
 *
 *   /wait?n=3    answers when three events have come     /stream?n=3   sends each as it comes
 *   /hang        sends "hello" and then nothing, ever    /timer        answers after 50 ms
 *   /hang?quiet  never sends anything                    /secret       is refused by its head
 *   all others say what the call was: method, path, query, bytes and a sum of the body, id, peer */
#ifndef TESTS_SERVER_FAKE_SCRIPT_H
#define TESTS_SERVER_FAKE_SCRIPT_H

#include <stdatomic.h>

#include "api/api.h"

enum { MAX_BODY = 1 << 20 };

/* Calls begun and ended since script_begin; those that ended before all their events had come. */
extern atomic_int heads, ends, unfinished;

struct api *script_begin(void); /* before the server opens */
void script_end(void);          /* when it is closed: no call may be left */

#endif
