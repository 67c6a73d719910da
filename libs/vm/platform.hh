/*
 * The queue of V8's foreground tasks: other threads post, the owner thread runs them when it is
 * idle.
 */
#ifndef BB_VM_PLATFORM_HH
#define BB_VM_PLATFORM_HH

#include <deque>
#include <mutex>

#include "vm_internal.hh"

namespace bb
{

class Tasks : public v8::TaskRunner, public node::IsolatePlatformDelegate
{
  public:
    /* Runs due tasks until none is left or the time is over. */
    void run(v8::Isolate *isolate, uint64_t budget_ns);

    std::shared_ptr<v8::TaskRunner> GetForegroundTaskRunner() override;
    bool IdleTasksEnabled() override
    {
        return false;
    }
    bool NonNestableTasksEnabled() const override
    {
        return true;
    }
    bool NonNestableDelayedTasksEnabled() const override
    {
        return true;
    }
    std::weak_ptr<Tasks> self;

  protected:
    using Location = v8::SourceLocation;
    void PostTaskImpl(std::unique_ptr<v8::Task> task, const Location &) override;
    void PostNonNestableTaskImpl(std::unique_ptr<v8::Task> task, const Location &) override;
    void PostDelayedTaskImpl(std::unique_ptr<v8::Task> task, double seconds,
                             const Location &) override;
    void PostNonNestableDelayedTaskImpl(std::unique_ptr<v8::Task> task, double seconds,
                                        const Location &) override;

  private:
    struct Delayed {
        uint64_t due_ns;
        std::unique_ptr<v8::Task> task;
    };
    std::unique_ptr<v8::Task> next(uint64_t now_ns);

    std::mutex mutex_;
    std::deque<std::unique_ptr<v8::Task>> ready_;
    std::vector<Delayed> delayed_;
};

} // namespace bb

#endif
