/* Which pages of a buffer are plainly good; innodb/page.py looks at the others.
 *
 * Layout: fil0types.h. Checksums: buf0checksum.cc, page0zip.cc. What is good here must be good there; the tests compare.
 */
#include "native.h"

#include <string.h>

enum { NUMBER = 4, LSN_LOW = 20, TYPE = 24, UNCHECKED = 26, LSN = 16, SPACE_ID = 34, BODY = 38, TRAILER = 8 };
enum { SMALLEST = 1024, LARGEST = 65536, SIDE_BY_SIDE = 3, RANGES = 3 };

/* A tablespace's pages, and which bytes of one its checksum is of. */
struct layout {
    uint32_t size, space_id;
    int is_zip, ranges;
    uint32_t from[RANGES], to[RANGES];
};

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int is_page_size(uint32_t size) { return size >= SMALLEST && size <= LARGEST && !(size & (size - 1)); }

static struct layout layout_of(uint32_t size, uint32_t is_zip, uint32_t space_id) {
    struct layout plain = {size, space_id, 0, 2, {NUMBER, BODY}, {UNCHECKED, size - TRAILER}};
    struct layout zip = {size, space_id, 1, 3, {NUMBER, TYPE, SPACE_ID}, {LSN, UNCHECKED, size}};
    return is_zip ? zip : plain;
}

/* The checksums of `count` pages, 1 or 3. */
static void checksums(const struct layout *layout, const uint8_t *pages, int count, uint32_t sums[SIDE_BY_SIDE]) {
    memset(sums, 0, SIDE_BY_SIDE * sizeof *sums);
    for (int range = 0; range < layout->ranges; range++) {
        const uint8_t *data = pages + layout->from[range];
        size_t length = layout->to[range] - layout->from[range];
        if (count == SIDE_BY_SIDE) {
            uint32_t more[SIDE_BY_SIDE];
            crc32c_three(data, layout->size, length, more);
            for (int page = 0; page < SIDE_BY_SIDE; page++) sums[page] ^= more[page];
        } else {
            sums[0] ^= innoclone_crc32c(data, length);
        }
    }
}

static int is_zeros(const uint8_t *data, size_t length) { return !data[0] && !memcmp(data, data + 1, length - 1); }

/* A page that was never written; the fields that no checksum covers don't count. Page 0 always is written. */
static int is_empty(const struct layout *layout, const uint8_t *page, uint64_t number) {
    return number && is_zeros(page + SPACE_ID, layout->size - SPACE_ID) && is_zeros(page, UNCHECKED);
}

static int is_good(const struct layout *layout, const uint8_t *page, uint64_t number, uint32_t sum) {
    const uint8_t *trailer = page + layout->size - TRAILER;
    if (u32(page) != sum || u32(page + NUMBER) != number || u32(page + SPACE_ID) != layout->space_id)
        return is_empty(layout, page, number);
    return layout->is_zip || (u32(trailer) == sum && u32(trailer + 4) == u32(page + LSN_LOW));
}

/* Writes the indexes of the pages that are neither plainly good nor empty, and returns how many there are. `room` is
 * that of `unusual`, one for each page at least; `first_page` is the number of the first page. */
EXPORT int64_t innoclone_check(const uint8_t *data, size_t length, uint32_t page_size, uint32_t is_zip, uint32_t space_id,
                               uint64_t first_page, uint32_t *unusual, size_t room) {
    if (!is_page_size(page_size) || length % page_size || length / page_size > room) return REFUSED;
    if (length && (!data || !unusual)) return REFUSED;
    struct layout layout = layout_of(page_size, is_zip, space_id);
    uint32_t count = (uint32_t)(length / page_size), sums[SIDE_BY_SIDE];
    int64_t found = 0;
    for (uint32_t page = 0; page < count;) {
        int step = count - page >= SIDE_BY_SIDE ? SIDE_BY_SIDE : 1;
        checksums(&layout, data + (size_t)page * page_size, step, sums);
        for (int side = 0; side < step; side++, page++)
            if (!is_good(&layout, data + (size_t)page * page_size, first_page + page, sums[side]))
                unusual[found++] = page;
    }
    return found;
}

/* The checksum fields of all pages, one behind the other; returns their bytes. */
EXPORT int64_t innoclone_stamps(const uint8_t *data, size_t length, uint32_t page_size, uint8_t *stamps, size_t room) {
    if (!is_page_size(page_size) || length % page_size || length / page_size > room / 4) return REFUSED;
    if (length && (!data || !stamps)) return REFUSED;
    for (size_t at = 0; at < length; at += page_size, stamps += 4) memcpy(stamps, data + at, 4);
    return (int64_t)(length / page_size * 4);
}
