#include "base/open_files.h"

#include <sys/resource.h>

void open_files_raise(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= OPEN_FILES_MOST) {
        return;
    }
    r.rlim_cur = r.rlim_max < OPEN_FILES_MOST ? r.rlim_max : OPEN_FILES_MOST;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}
