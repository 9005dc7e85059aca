/* How many files a server may have open. Shells and service managers start programs with a soft limit of 1,024, which is there
 * for select(2) and nothing else; a server is meant to raise it (systemd.exec(5), "LimitNOFILE").
 *
 * Thread rule: the main thread, before any other. */
#ifndef TIDE_BASE_OPEN_FILES_H
#define TIDE_BASE_OPEN_FILES_H

enum { OPEN_FILES_MOST = 1 << 20 };

/* Raises the soft limit to the hard one, or to OPEN_FILES_MOST. What is above stays, and so does all where it is refused. */
void open_files_raise(void);

#endif
