/* floor.c - see floor.h. */
#include "tests/api/fake/floor.h"

#include "kernels/base/buf.h"
#include "kernels/base/log.h"

static const struct event hi[] = {TEXT(0, "Hi"), FINISH(0, FINISH_STOP), DONE};
static struct buf lines;

static void keep(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level;
    buf_printf(&lines, "%s\n", line);
}

void floor_script(void)
{
    SCRIPT(hi);
}

struct api *floor_open(const struct api_options *o)
{
    static const struct api_options plain = {.version = "1.2"};

    log_set_sink(keep, NULL, LOG_INFO);
    fake_reset();
    floor_script();
    return api_open(fake_engine(), o ? o : &plain);
}

void floor_close(struct api *a)
{
    api_close(a);
    fake_reset();
    buf_clear(&lines);
}

const char *floor_log(void)
{
    return lines.data ? lines.data : "";
}
