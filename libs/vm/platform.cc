#include "platform.hh"

#include <ctime>

#include <algorithm>

namespace bb
{

static uint64_t monotonic_ns()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

std::shared_ptr<v8::TaskRunner> Tasks::GetForegroundTaskRunner()
{
    return self.lock();
}

void Tasks::PostTaskImpl(std::unique_ptr<v8::Task> task, const Location &)
{
    std::lock_guard<std::mutex> lock(mutex_);
    ready_.push_back(std::move(task));
}

void Tasks::PostNonNestableTaskImpl(std::unique_ptr<v8::Task> task, const Location &location)
{
    PostTaskImpl(std::move(task), location);
}

void Tasks::PostDelayedTaskImpl(std::unique_ptr<v8::Task> task, double seconds, const Location &)
{
    std::lock_guard<std::mutex> lock(mutex_);
    delayed_.push_back(Delayed{ monotonic_ns() + (uint64_t)(seconds * 1e9), std::move(task) });
}

void Tasks::PostNonNestableDelayedTaskImpl(std::unique_ptr<v8::Task> task, double seconds,
                                           const Location &location)
{
    PostDelayedTaskImpl(std::move(task), seconds, location);
}

std::unique_ptr<v8::Task> Tasks::next(uint64_t now_ns)
{
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < delayed_.size(); i++) {
        if (delayed_[i].due_ns <= now_ns) {
            ready_.push_back(std::move(delayed_[i].task));
            delayed_[i] = std::move(delayed_.back());
            delayed_.pop_back();
            break;
        }
    }
    if (ready_.empty()) {
        return nullptr;
    }
    std::unique_ptr<v8::Task> task = std::move(ready_.front());
    ready_.pop_front();
    return task;
}

/* Bounded: with much garbage V8 posts marking steps faster than one wants to pay for them here. */
void Tasks::run(v8::Isolate *isolate, uint64_t budget_ns)
{
    uint64_t now = monotonic_ns();
    const uint64_t end = now + budget_ns;

    while (now < end) {
        std::unique_ptr<v8::Task> task = next(now);
        if (task == nullptr) {
            return;
        }
        v8::HandleScope handles(isolate);
        task->Run();
        now = monotonic_ns();
    }
}

} // namespace bb
