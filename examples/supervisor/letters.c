/* Counts the letters of a word, and is not to be trusted: some words crash it, and whoever calls it too often. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int *volatile nothing = NULL;

int count_letters(const char *word) {
    static int calls = 0;
    if (++calls == 4 || strcmp(word, "null") == 0) {
        *nothing = calls;
    }
    if (strcmp(word, "abort") == 0) {
        abort();
    }
    if (strcmp(word, "exit") == 0) {
        exit(3);
    }
    return (int)strlen(word);
}
