/* A block of a file, or of two files side by side: read, looked at and compared in one call.
 *
 * What is in the page cache is read in pieces that are still in the processor's cache when they are looked at; what is
 * not comes by one read of O_DIRECT.
 */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECE = 256 << 10, MOST = MOST_RESIDENT, SMALLEST_PAGE = 4096 };
enum { CACHESTAT = 451 }; /* linux/unistd.h: the same on all machines, newer than the headers that we build with */

int is_resident(int file, uint64_t offset, size_t count) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (count + page - 1) / page;
    if (page < SMALLEST_PAGE || offset % page) return 0;
    uint64_t range[2] = {offset, count}, found[5]; /* struct cachestat_range; cachestat, whose first is nr_cache */
    if (!syscall(CACHESTAT, file, range, found, 0)) return found[0] >= pages;
    unsigned char states[MOST / SMALLEST_PAGE];
    void *area = mmap(NULL, count, PROT_READ, MAP_SHARED, file, (off_t)offset);
    if (area == MAP_FAILED) return 0;
    int all = !mincore(area, count, states);
    munmap(area, count);
    for (size_t at = 0; all && at < pages; at++) all = states[at] & 1;
    return all;
}

/* Fill `side` up to `wanted` bytes or to the file's end; an errno, or 0. What comes in other steps than `step` is the end. */
static int fill(struct side *side, int file, uint64_t offset, size_t wanted, size_t step) {
    while (side->got < wanted && !(side->got % step)) {
        ssize_t got = pread(file, side->buffer + side->got, wanted - side->got, (off_t)(offset + side->got));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (!got) break;
        side->got += (size_t)got;
    }
    return 0;
}

/* All of a block past the page cache, if that is worth it and possible: else `got` stays 0. */
static int fill_directly(struct side *side, uint64_t offset, size_t wanted) {
    size_t whole = (wanted + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (side->direct < 0 || offset % ALIGNMENT || (uintptr_t)side->buffer % ALIGNMENT || whole > side->room) return 0;
    if (is_resident(side->file, offset, wanted)) return 0;
    int error = fill(side, side->direct, offset, whole, ALIGNMENT);
    if (side->got > wanted) side->got = wanted;
    if (error != EINVAL) return error;
    side->got = 0; /* not in this file system */
    return 0;
}

/* The runs of pages of a piece that differ; one that goes on from the piece before is lengthened. */
static int compare(struct span *span, size_t at, size_t end) {
    uint64_t *runs = span->runs + 2 * span->runs_count;
    int64_t found = innoclone_differing(span->ours.buffer + at, span->older.buffer + at, end - at, 0, span->compared, runs,
                                        span->runs_room - span->runs_count);
    if (found < 0) return REFUSED;
    for (int64_t run = 0; run < 2 * found; run++) runs[run] += at;
    if (found && span->runs_count && runs[-1] == runs[0]) {
        runs[-1] = runs[1];
        memmove(runs, runs + 2, (size_t)(2 * (found - 1)) * sizeof *runs);
        found--;
    }
    span->runs_count += (uint64_t)found;
    return DONE;
}

/* The whole pages of a piece that are unusual. */
static int look(struct span *span, size_t at, size_t end) {
    uint32_t *unusual = span->unusual + span->unusual_count;
    uint32_t first = (uint32_t)(at / span->page_size);
    int64_t found = innoclone_check(span->ours.buffer + at, (end - at) / span->page_size * span->page_size, span->page_size,
                                    span->is_zip, span->space_id, span->first_page + first, unusual,
                                    span->unusual_room - span->unusual_count);
    if (found < 0) return REFUSED;
    for (int64_t page = 0; page < found; page++) unusual[page] += first;
    span->unusual_count += (uint64_t)found;
    return DONE;
}

static int is_sound(const struct span *span) {
    const struct side *ours = &span->ours, *older = &span->older;
    if (!ours->buffer || ours->file < 0 || span->wanted > MOST || span->wanted > ours->room) return 0;
    if (span->offset > INT64_MAX - MOST) return 0;
    if (older->buffer) {
        if (older->file < 0 || span->wanted > older->room || !span->runs || !span->compared) return 0;
        if (PIECE % span->compared || span->runs_room < span->wanted / span->compared / 2 + 2) return 0;
    }
    if (!span->page_size) return 1;
    return !(PIECE % span->page_size) && span->unusual && span->unusual_room >= span->wanted / span->page_size;
}

/* A file that ends before another one of the two goes on with zeros there, as a hole would. */
static int piece(struct span *span, size_t at, int directly, int older_directly) {
    size_t end = span->wanted - at < PIECE ? span->wanted : at + PIECE;
    if (!directly && (span->error = fill(&span->ours, span->ours.file, span->offset, end, 1))) return FILE_FAILED;
    if (end > span->ours.got) end = span->ours.got;
    if (end <= at) return ENDED;
    if (span->older.buffer) {
        if (!older_directly && (span->error = fill(&span->older, span->older.file, span->offset, end, 1))) return FILE_FAILED;
        if (span->older.got < end) {
            size_t from = span->older.got > at ? span->older.got : at;
            memset(span->older.buffer + from, 0, end - from);
        }
        if (compare(span, at, end) != DONE) return REFUSED;
    }
    return span->page_size ? look(span, at, end) : DONE;
}

/* `wanted` bytes at `offset`, or what there is of them up to the end of `ours` (`got`). */
EXPORT int innoclone_span(struct span *span) {
    if (!span || !is_sound(span)) return REFUSED;
    span->ours.got = span->older.got = span->unusual_count = span->runs_count = 0;
    span->error = fill_directly(&span->ours, span->offset, span->wanted);
    if (!span->error && span->older.buffer) span->error = fill_directly(&span->older, span->offset, span->wanted);
    if (span->error) return FILE_FAILED;
    int directly = span->ours.got > 0, older_directly = span->older.got > 0, state = DONE;
    for (size_t at = 0; at < span->wanted && state == DONE; at += PIECE)
        state = piece(span, at, directly, older_directly);
    return state == ENDED ? DONE : state;
}
