#include "spare.h"

#define PLACES 2 /* that are not held: one for what is known, one for what is not */

bool worker_spare_may_take(const struct spare_view *view, enum spare_class call)
{
    if (view->held + view->away == 0) {
        return false; /* a slot will be free in a moment */
    }
    switch (call) {
    case SPARE_SHORT:
        return view->spares_used < view->spares;
    case SPARE_UNKNOWN:
        return view->spares_used + 1 < view->spares;
    case SPARE_LONG:
        return false;
    }
    BB_UNREACHABLE("class of a call");
}

bool worker_spare_has_room(size_t calls, size_t calls_max, enum spare_class call)
{
    return calls < (call == SPARE_LONG ? calls_max / 2 : calls_max);
}

size_t worker_spare_wanted(const struct spare_view *view)
{
    size_t needed = view->held + view->away + PLACES;
    if (view->held == 0 || needed <= view->slots) {
        return 0;
    }
    return needed - view->slots < view->spares ? needed - view->slots : view->spares;
}
