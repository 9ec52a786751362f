/* A block of pages: received, looked at and written in one call. */
#include "native.h"

EXPORT int innoclone_abi(void) { return ABI; }

/* Unusual pages are written as well: that FILE COPY brings torn ones is no error. What was done is in `block`; after
 * TIME_IS_UP and SIGNALLED the same call goes on. */
EXPORT int innoclone_block(struct channel *channel, struct block *block) {
    if (!block || !block->buffer || block->wanted > block->room || block->received > block->wanted) return REFUSED;
    size_t received = block->received, written = 0;
    int state = innoclone_receive(channel, block->buffer, block->room, block->wanted, &received);
    block->received = received;
    if (state != DONE) return state;
    block->unusual_count = block->written = 0;
    if (block->page_size && block->checked) {
        int64_t found = innoclone_check(block->buffer, block->wanted, block->page_size, block->is_zip, block->space_id,
                                        block->first_page, block->unusual, block->unusual_room);
        if (found < 0) return REFUSED;
        block->unusual_count = (uint64_t)found;
    }
    if (block->page_size && block->stamps &&
        innoclone_stamps(block->buffer, block->wanted, block->page_size, block->stamps, block->stamps_room) < 0)
        return REFUSED;
    if (block->file < 0) return DONE;
    state = innoclone_write(block->file, block->buffer, block->wanted, block->offset, block->alignment, &written,
                            &block->error);
    block->written = written;
    return state;
}
