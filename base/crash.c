#include "base/crash.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

enum { STACK_BYTES = 64 << 10, FRAMES = 48, SIGNALS = 5 };

static const struct {
    int number;
    struct str name;
} signals[SIGNALS] = {
    {SIGSEGV, STR_INIT("SIGSEGV")}, {SIGBUS, STR_INIT("SIGBUS")},   {SIGFPE, STR_INIT("SIGFPE")},
    {SIGILL, STR_INIT("SIGILL")},   {SIGABRT, STR_INIT("SIGABRT")},
};

static struct sigaction before[SIGNALS];
static const char *program_name = "program";
static atomic_int crashing; /* thread id of the one that writes */

static _Thread_local struct {
    stack_t old_stack;
    void *stack; /* NULL: none of ours */
    void (*note)(int fd, void *arg);
    void *note_arg;
} thread;

/* --- what is written ---------------------------------------------------------------------------------- */

void crash_put(int fd, struct str text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n <= 0) {
            return;
        }
        text = str_skip(text, (size_t)n);
    }
}

static void put_digits(int fd, uint64_t n, unsigned base)
{
    char text[20];
    unsigned at = sizeof text;
    do {
        text[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n > 0);
    crash_put(fd, str_of(text + at, sizeof text - at));
}

void crash_put_number(int fd, uint64_t n)
{
    put_digits(fd, n, 10);
}

static void put_head(int fd, struct str name, const siginfo_t *info)
{
    char thread_name[16] = "";
    pthread_getname_np(pthread_self(), thread_name, sizeof thread_name); /* prctl for the own thread */
    crash_put(fd, STR("crash signal="));
    crash_put(fd, name);
    if (info->si_code > 0) {
        crash_put(fd, STR(" address=0x"));
        put_digits(fd, (uintptr_t)info->si_addr, 16);
    } else {
        crash_put(fd, STR(" sent_by="));
        crash_put_number(fd, (uint64_t)info->si_pid);
    }
    crash_put(fd, STR(" pid="));
    crash_put_number(fd, (uint64_t)getpid());
    crash_put(fd, STR(" thread="));
    crash_put(fd, str_from(thread_name));
    crash_put(fd, STR(" program="));
    crash_put(fd, str_from(program_name));
    crash_put(fd, STR(" version=" TIDE_VERSION "\n"));
}

static void put_all(int fd, struct str name, const siginfo_t *info)
{
    void *frames[FRAMES];
    put_head(fd, name, info);
    crash_put(fd, STR("crash stack\n"));
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES), fd);
    if (thread.note) {
        thread.note(fd, thread.note_arg);
    }
    crash_put(fd, STR("crash end\n"));
}

/* --- the handler -------------------------------------------------------------------------------------- */

static unsigned index_of(int number)
{
    unsigned i = 0;
    while (i < SIGNALS - 1 && signals[i].number != number) {
        i++;
    }
    return i;
}

static bool enter(void)
{
    int mine = gettid();
    int nobody = 0;
    if (atomic_compare_exchange_strong(&crashing, &nobody, mine)) {
        return true;
    }
    while (nobody != mine) { /* another thread writes, and then ends us all */
        pause();
    }
    return false;
}

/* A fault happens again when the handler returns; a signal that was sent has to be sent again. */
static void die(unsigned i, siginfo_t *info, void *context)
{
    if (before[i].sa_flags & SA_SIGINFO) {
        before[i].sa_sigaction(signals[i].number, info, context);
    }
    signal(signals[i].number, SIG_DFL);
    if (info->si_code <= 0) {
        raise(signals[i].number);
    }
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    unsigned i = index_of(number);
    if (enter()) {
        int log_fd = log_descriptor();
        put_all(STDERR_FILENO, signals[i].name, info);
        if (log_fd != STDERR_FILENO) {
            put_all(log_fd, signals[i].name, info);
        }
        log_flush_at_abort();
    }
    die(i, info, context);
}

/* --- life --------------------------------------------------------------------------------------------- */

void crash_install(const char *program)
{
    void *frame[1];
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    program_name = program;
    (void)backtrace(frame, 1); /* loads what it needs: later it must not allocate */
    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < SIGNALS; i++) {
        BUG_ON(sigaction(signals[i].number, &action, &before[i]) != 0);
    }
}

void crash_thread_begin(void)
{
    void *p = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) {
        stack_t mine = {.ss_sp = p, .ss_size = STACK_BYTES};
        thread.stack = p;
        sigaltstack(&mine, &thread.old_stack);
    }
}

void crash_thread_end(void)
{
    if (thread.stack) {
        sigaltstack(&thread.old_stack, NULL);
        munmap(thread.stack, STACK_BYTES);
        thread.stack = NULL;
    }
}

void crash_note(void (*fn)(int fd, void *arg), void *arg)
{
    thread.note_arg = arg;
    thread.note = fn;
}
