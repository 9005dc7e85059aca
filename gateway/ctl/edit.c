#include "gateway/ctl/edit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/ctl/ctl.h"

enum { PATH_ROOM = 512 };

/* What the operator edits. */
struct edit {
    const struct ctl *c;
    char path[PATH_ROOM]; /* the file */
    int64_t version;      /* that was in force when it was written */
    struct buf text;      /* as it was given out */
};

/* --- the file ---------------------------------------------------------------------------------------- */

static bool file_write(struct edit *e)
{
    const char *folder = getenv("TMPDIR");
    snprintf(e->path, sizeof e->path, "%s/tidegate-policy-XXXXXX.json", folder != NULL ? folder : "/tmp");
    int fd = mkstemps(e->path, 5);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok = f != NULL && fwrite(e->text.p, 1, e->text.n, f) == e->text.n;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (!ok) {
        fprintf(stderr, "tidectl: %s: cannot be written\n", e->path);
    }
    return ok;
}

static bool file_read(const struct edit *e, struct buf *out)
{
    buf_truncate(out);
    return ctl_read_document(e->path, out);
}

/* The document in force, one member a line, and its version. Presets are written on one line otherwise. */
static int fetch(struct edit *e)
{
    struct ctl_answer a;
    int code = ctl_request(e->c, "GET", "/admin/v1/policy", NULL, &a);
    if (code == CTL_OK) {
        cJSON *dom = cJSON_ParseWithLength(a.body.p, a.body.n);
        char *text = cJSON_Print(cJSON_GetObjectItemCaseSensitive(dom, "document"));
        const cJSON *version = cJSON_GetObjectItemCaseSensitive(dom, "version");
        e->version = cJSON_IsNumber(version) ? (int64_t)version->valuedouble : 0;
        code = text != NULL && e->version > 0 ? CTL_OK : CTL_FAILED;
        buf_addf(&e->text, "%s\n", text != NULL ? text : "");
        cJSON_free(text);
        cJSON_Delete(dom);
    }
    buf_clear(&a.body);
    return code;
}

/* --- the editor -------------------------------------------------------------------------------------- */

/* By the shell, since $EDITOR may have options; the path stays one word. */
static bool run_editor(const char *path)
{
    const char *editor = getenv("VISUAL");
    char command[PATH_ROOM];
    editor = editor != NULL && editor[0] != '\0' ? editor : getenv("EDITOR");
    editor = editor != NULL && editor[0] != '\0' ? editor : "vi";
    if ((size_t)snprintf(command, sizeof command, "%s \"$0\"", editor) >= sizeof command) {
        fprintf(stderr, "tidectl: $EDITOR is too long\n");
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, path, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    bool ok = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ok) {
        fprintf(stderr, "tidectl: the editor (%s) failed\n", editor);
    }
    return ok;
}

/* The first letter of an answer, one of `letters`; the last of them at the end of input. */
static char ask(const char *question, const char *letters)
{
    char line[64];
    for (;;) {
        printf("%s ", question);
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL) {
            return letters[strlen(letters) - 1];
        }
        if (line[0] != '\n' && strchr(letters, line[0]) != NULL) {
            return line[0];
        }
    }
}

/* --- looking and sending ------------------------------------------------------------------------------ */

/* Shows the diff and what lint finds. CTL_OK: it may be sent. */
static int look(const struct edit *e, const struct buf *document)
{
    struct buf body;
    struct ctl_answer a;
    struct ctl trial = *e->c;
    trial.dry_run = true;
    trial.if_version = e->version;
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    ctl_write_policy_document(&body, &trial, document);
    int code = ctl_request(&trial, "PUT", "/admin/v1/policy", &body, &a);
    code = code == CTL_OK ? ctl_print_trial(&trial, buf_str(&a.body)) : code;
    buf_clear(&a.body);
    buf_clear(&body);
    return code;
}

static int send_it(const struct edit *e, const struct buf *document)
{
    struct buf body;
    struct ctl change = *e->c;
    change.if_version = e->version;
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    ctl_write_policy_document(&body, &change, document);
    int code = ctl_send_policy_change(&change, "PUT", "/admin/v1/policy", &body, "policy set");
    buf_clear(&body);
    return code;
}

/* Edits until it is sent, or given up: then the text stays. */
static int rounds(struct edit *e, struct buf *document)
{
    for (;;) {
        if (!run_editor(e->path)) {
            return CTL_FAILED;
        }
        bool is_read = file_read(e, document);
        if (is_read && str_eq(buf_str(document), buf_str(&e->text))) {
            printf("nothing was changed\n");
            unlink(e->path);
            return CTL_OK;
        }
        int code = is_read ? look(e, document) : CTL_FAILED;
        bool is_hopeless = code == CTL_CONFLICT || code == CTL_UNREACHABLE || code == CTL_DENIED;
        char answer = is_hopeless      ? 'q'
                      : code != CTL_OK ? ask("edit again, or quit? [e/q]", "eq")
                      : e->c->dry_run  ? 'q'
                                       : ask("send it, edit again, or quit? [s/e/q]", "seq");
        if (answer == 's') {
            code = send_it(e, document);
            if (code == CTL_OK) {
                unlink(e->path);
            }
        }
        if (answer != 'e') {
            return answer == 'q' && code == CTL_OK && !e->c->dry_run ? CTL_FAILED : code;
        }
    }
}

int ctl_policy_edit(const struct ctl *c)
{
    struct edit e = {.c = c};
    struct buf document;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return ctl_usage(c, "wants a terminal; without one: policy show > FILE, then policy apply -f FILE");
    }
    buf_init(&e.text, CTL_DOCUMENT_MAX);
    buf_init(&document, CTL_DOCUMENT_MAX);
    int code = fetch(&e);
    bool is_out = code == CTL_OK && file_write(&e);
    code = is_out ? rounds(&e, &document) : code == CTL_OK ? CTL_FAILED : code;
    if (is_out && access(e.path, F_OK) == 0) {
        fprintf(stderr, "tidectl: your text is in %s\n", e.path);
    }
    buf_clear(&document);
    buf_clear(&e.text);
    return code;
}
