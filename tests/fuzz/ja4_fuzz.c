/* ClientHello messages (base/http/ja4.h). */
#include "base/http/ja4.h"
#include "tests/fuzz/fuzz.h"

static void check_text(const struct ja4 *j)
{
    MUST(strlen(j->text) == JA4_LEN && j->text[0] == 't' && j->text[10] == '_' && j->text[23] == '_');
    MUST(j->text[3] == 'd' || j->text[3] == 'i');
    for (int i = 0; i < JA4_LEN; i++) {
        char c = j->text[i];
        MUST((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ja4 found = {.text = "untouched"}, cut = found;
    char *exact = fuzz_copy(data, n);
    int rc = ja4_of_hello(str_of(exact, n), &found);
    free(exact);
    if (rc != 0) {
        MUST((rc == ERR_INVALID || rc == ERR_LIMIT) && strcmp(found.text, "untouched") == 0);
        return 0;
    }
    check_text(&found);
    size_t less = fuzz_cut(data, n - 1); /* its length is inside: anything shorter is none */
    exact = fuzz_copy(data, less);
    MUST(ja4_of_hello(str_of(exact, less), &cut) == ERR_INVALID);
    free(exact);
    return 0;
}
