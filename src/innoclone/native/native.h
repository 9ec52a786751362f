/* The native core: what is done to many bytes at once, called through ctypes, so without Python's lock.
 *
 * It decides nothing. Every function checks the bounds it is given, refuses what makes no sense, and leaves whatever is
 * unusual to Python. No state but the way of the checksum and the writing threads of behind.c, so any number of threads
 * may call. No Python.h: one library serves every Python.
 */
#ifndef INNOCLONE_NATIVE_H
#define INNOCLONE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define ABI 5 /* changes with every change of what Python sees of this file; library.py has the same number */
#define EXPORT __attribute__((visibility("default")))
enum { ALIGNMENT = 4096, MOST_RESIDENT = 16 << 20 }; /* of O_DIRECT, on all common devices */
#define REFUSED (-1) /* what every function returns for arguments that make no sense */

/* crc32c.c */
EXPORT int innoclone_crc32c_way(int wanted);
EXPORT uint32_t innoclone_crc32c(const uint8_t *data, size_t length);
/* of three runs of `length` bytes, each `stride` behind the one before */
void crc32c_three(const uint8_t *data, size_t stride, size_t length, uint32_t sums[3]);

/* pages.c */
EXPORT int64_t innoclone_check(const uint8_t *data, size_t length, uint32_t page_size, uint32_t is_zip, uint32_t space_id,
                               uint64_t first_page, uint32_t *unusual, size_t room);
EXPORT int64_t innoclone_stamps(const uint8_t *data, size_t length, uint32_t page_size, uint8_t *stamps, size_t room);

/* compare.c */
EXPORT int64_t innoclone_differing(const uint8_t *one, const uint8_t *other, size_t length, size_t from, size_t page,
                                   uint64_t *runs, size_t room);

/* transfer.c */
enum state {
    DONE = 0,        /* all of it */
    ENDED = 1,       /* the peer has closed the connection */
    TIME_IS_UP = 2,  /* `wait` has passed; some bytes may have come */
    SIGNALLED = 3,   /* a signal came: Python's handlers want to run */
    BROKEN = 4,      /* `error` is errno */
    TLS_BROKEN = 5,  /* `tls_error` is OpenSSL's number */
    FILE_FAILED = 6, /* reading or writing the file: `error` is errno */
};

/* OpenSSL's functions, by the addresses that Python found; in the order of tls.py */
struct tls {
    int (*read)(void *session, void *into, int count);
    int (*write)(void *session, const void *from, int count);
    int (*get_error)(const void *session, int result);
    void (*clear_errors)(void);
    unsigned long (*last_error)(void);
};

/* One connection; in the order of transfer.py. */
struct channel {
    const struct tls *tls; /* NULL: plain */
    void *session;         /* the SSL of it */
    int32_t fd;
    int32_t wait; /* milliseconds after which a call returns with what it has */
    int32_t error;
    int32_t unused;
    uint64_t tls_error;
};

EXPORT int innoclone_receive(struct channel *channel, uint8_t *into, size_t room, size_t wanted, size_t *received);

/* A part of a file on its way; in the order of transfer.py. */
enum way { UNDECIDED = 0, THROUGH_CACHE = 1, DIRECTLY = 2 };
struct sending {
    uint64_t offset, count, sent;
    uint8_t *buffer; /* for what doesn't go inside the kernel */
    uint64_t room;
    int32_t file;   /* read through the page cache */
    int32_t direct; /* the same with O_DIRECT; -1: not that way */
    uint32_t way;
    uint32_t unused;
};
EXPORT int innoclone_send_file(struct channel *channel, struct sending *sending);
EXPORT int innoclone_write(int file, const uint8_t *from, size_t length, uint64_t offset, size_t alignment,
                           size_t *written, int32_t *error);

/* block.c: a block of pages from a connection into a file; in the order of block.py */
struct block {
    uint8_t *buffer;
    uint64_t room;     /* bytes of the buffer */
    uint64_t wanted;   /* bytes of the block */
    uint64_t received; /* bytes of it that are in the buffer already: also for going on after TIME_IS_UP */
    uint64_t offset;   /* of the block in the file */
    uint64_t first_page;
    uint32_t *unusual; /* indexes of pages that Python is to look at */
    uint64_t unusual_room, unusual_count;
    uint8_t *stamps; /* 4 bytes a page; NULL: not wanted */
    uint64_t stamps_room;
    uint64_t written;
    uint32_t page_size; /* 0: no pages, and no stamps */
    uint32_t is_zip, space_id;
    int32_t file;       /* -1: not written */
    uint32_t alignment; /* of O_DIRECT, 0 without */
    int32_t error;
    uint32_t checked; /* whether the pages are looked at */
    uint32_t unused;
};
EXPORT int innoclone_block(struct channel *channel, struct block *block);

/* behind.c: a thread that writes what one other thread gives it, one piece after the other */
struct behind;
EXPORT struct behind *innoclone_behind_new(void); /* NULL: no memory, no thread */
EXPORT int innoclone_behind_give(struct behind *behind, int file, const uint8_t *from, size_t length, uint64_t offset,
                                 size_t alignment);
EXPORT int innoclone_behind_wait(struct behind *behind, size_t *written, int32_t *error);
EXPORT void innoclone_behind_free(struct behind *behind);

/* span.c: a block of a file, or of two side by side; in the order of span.py */
struct side {
    uint8_t *buffer; /* NULL for the older one: there is none */
    uint64_t room;
    uint64_t got;   /* bytes that were read */
    int32_t file;   /* read through the page cache */
    int32_t direct; /* the same with O_DIRECT; -1: not that way */
};
struct span {
    struct side ours, older;
    uint64_t offset, wanted;
    uint64_t first_page;
    uint32_t *unusual; /* indexes of our pages that Python is to look at */
    uint64_t unusual_room, unusual_count;
    uint64_t *runs; /* start and end of the pages that differ */
    uint64_t runs_room, runs_count;
    uint32_t compared;  /* bytes of a page that is compared */
    uint32_t page_size; /* 0: they are not looked at */
    uint32_t is_zip, space_id;
    int32_t error;
    uint32_t unused;
};
EXPORT int innoclone_span(struct span *span);
/* whether all of a range of at most MOST_RESIDENT bytes is in the page cache, as far as the system tells */
int is_resident(int file, uint64_t offset, size_t count);

EXPORT int innoclone_abi(void);

#endif
