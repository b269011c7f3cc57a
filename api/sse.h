/* sse.h - server-sent events: the frames of a streamed answer. */
#ifndef API_SSE_H
#define API_SSE_H

#include "api/api.h"

/* Commits the call to 200 and an event stream: PHASE_STREAM. */
void sse_open(struct call *c);
/* A frame is "data: ", JSON appended by the caller (which never has a line feed), sse_end. */
void sse_begin(struct buf *out);
void sse_end(struct buf *out);
void sse_done(struct call *c); /* "data: [DONE]": PHASE_END */
/* This thread's last failure as the last frame; no [DONE] follows, so that the answer cannot be
 * taken for a complete one. PHASE_END. */
void sse_fail(struct call *c, enum status s);
/* A comment, which keeps proxies and impatient clients from giving up. */
void sse_comment(struct buf *out, const char *text);

#endif
