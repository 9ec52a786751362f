/* Where two buffers differ, page by page. */
#include "native.h"

#include <string.h>

static size_t end_of(size_t at, size_t page, size_t length) { return length - at < page ? length : at + page; }

/* Writes (start, end) of each run of pages that differ, from byte `from` on, and returns how many there are. If they
 * are `room`, there may be more from the end of the last one on. A last page may be cut short. */
EXPORT int64_t innoclone_differing(const uint8_t *one, const uint8_t *other, size_t length, size_t from, size_t page,
                                   uint64_t *runs, size_t room) {
    if (!one || !other || !runs || !room || !page || from > length) return REFUSED;
    size_t found = 0;
    for (size_t at = from; at < length && found < room;) {
        size_t start = at;
        while (at < length && memcmp(one + at, other + at, end_of(at, page, length) - at)) at = end_of(at, page, length);
        if (at > start) {
            runs[2 * found] = start;
            runs[2 * found++ + 1] = at;
        }
        if (at < length) at = end_of(at, page, length); /* which is equal */
    }
    return (int64_t)found;
}
