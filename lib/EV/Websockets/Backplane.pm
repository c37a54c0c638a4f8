package EV::Websockets::Backplane;

use strict;
use warnings;
use 5.010;

use Carp ();
use EV;
use EV::Websockets::Backplane::Outbox;
use EV::Websockets::Backplane::Redis;
use EV::Websockets::Backplane::Settings;
use EV::Websockets::Backplane::Subscriber;
use EV::Websockets::Backplane::Topic;
use EV::Websockets::Backplane::Wire;
use Scalar::Util ();
use Time::HiRes ();

# ---- making one ----

sub new {
    my ($class, $context, @options) = @_;
    Carp::croak('new: the invocant must be the name of a class') if ref $class || !defined $class;
    Carp::croak('new: the context must be an EV::Websockets::Context (got ' . EV::Websockets::Backplane::Settings::shown($context) . ')')
        if !Scalar::Util::blessed($context) || !$context->can('set_backplane');
    Carp::croak('new: options come in pairs of a name and a value') if @options % 2;
    my ($settings, $client) = EV::Websockets::Backplane::Settings::settings_of(@options);
    my $self = bless {
        %$settings, owner => $$, id => _random(), topics => {}, set => {}, epochs => 0,
        down_reason => 'not connected yet',
    }, $class;
    my $own_key = "$self->{prefix}p:" . unpack 'H*', $self->{id};
    Scalar::Util::weaken(my $weak = $self);
    $self->{outbox} = EV::Websockets::Backplane::Outbox->new(
        publisher  => $self->{id},
        own_key    => $own_key,
        channel_of => sub { $weak->channel_of($_[0]) },
        keys_of    => sub { $weak->_keys_of($_[0]) },
        history_of => sub { ($weak->_history_of($_[0]), 1000 * $weak->{expire}) },
        run_of     => sub { ($weak->{redis}->run, $weak->_next_epoch) },
        refused    => sub { $weak->_call('on_refused', @_) if $weak },
        map { $_ => $self->{$_} } qw(max_pending max_pending_bytes),
    );
    $self->{redis} = EV::Websockets::Backplane::Redis->new(
        owner   => $self,
        client  => $client,
        control => $own_key,
        map { $_ => $self->{$_} } qw(timeout retry ping_interval durable),
    );
    $self->{context} = $context;
    Scalar::Util::weaken($self->{context});
    $context->set_backplane($self);
    $self->{redis}->connect;
    return $self;
}

# What no other process has.
sub _random {
    my $octets = '';
    if (open my $source, '<:raw', '/dev/urandom') {
        sysread $source, $octets, 8;
    }
    return length $octets == 8 ? $octets : pack 'nnnn', $$ & 0xFFFF, map { int rand 65536 } 1 .. 3;
}

# ---- names ----

sub channel_of { return "$_[0]{prefix}t:$_[1]" }

sub _keys_of { return ("$_[0]{prefix}r:$_[1]", "$_[0]{prefix}s:$_[1]") }

# How many messages of a topic Redis keeps, and for how long (milliseconds, 0: as long as the topic is known).
sub _history_of {
    my ($self, $topic) = @_;
    return @{ $self->{set}{$topic} } if $self->{set}{$topic};
    my $history = $self->{history};
    return ($history, 0) if !ref $history;
    my $known = $self->{topics}{$topic};
    return @{ $known->{history} } if $known;
    my ($count, $age) = eval { local $SIG{__DIE__}; map { defined $_ ? "$_" : 0 } ($history->($topic))[0, 1] };
    warn "EV::Websockets::Backplane: history: $@" if $@;
    $count = 0 if !defined $count || $count !~ /\A[0-9]{1,9}\z/;
    $age = 0 if !defined $age || $age !~ /\A[0-9]{1,9}(?:\.[0-9]+)?\z/;
    return ($count, _milliseconds($age));
}

# Some time stays some time, and 3,000 years are enough: beyond what Redis takes for a time it refuses the whole batch.
sub _milliseconds {
    my ($seconds) = @_;
    my $milliseconds = 1000 * $seconds;
    return $milliseconds > 1e14 ? 1e14 : $milliseconds > 0 && $milliseconds < 1 ? 1 : int $milliseconds;
}

sub _next_epoch {
    my ($self) = @_;
    my $start = unpack('N', $self->{id}) || 1;
    return sprintf '%08x%08x', $start, ++$self->{epochs} & 0xFFFFFFFF;
}

# ---- what the context asks ----

# True if it is on its way, or kept; false if it is not. The context has made octets of the topic and the data, and the
# options plain: see "set_backplane" in EV::Websockets::Topics.
sub publish {
    my ($self, $topic, $data, $options) = @_;
    Carp::croak('publish: the Backplane belongs to another process: one that forks makes its own afterwards') if $self->{owner} != $$;
    Carp::croak('publish: a frame of one message needs local => 1: give it to topic')
        if defined $options->{frame};
    Carp::croak('publish: the key must have at most 65535 octets') if defined $options->{key} && length $options->{key} > 65_535;
    Carp::croak('publish: a message that is prepared is for this process alone: give its data, or local => 1')
        if Scalar::Util::blessed($data) && $data->isa('EV::Websockets::Prepared');
    Carp::croak("publish: a message of more than max_message_size $self->{max_message_size} octets (got " . length($data) . ')')
        if length $data > $self->{max_message_size};
    # Who has subscribed in this turn must not miss it. After that Redis may be lost, and this Backplane closed.
    $self->topic_used($topic) if !$self->{topics}{$topic} && $self->{context} && $self->{context}->subscribers($topic);
    return 0 if $self->{is_closed} || !$self->is_up && $self->{while_down} eq 'refuse' || !$self->{outbox}->has_room(length $data);
    my $known = $self->{topics}{$topic};
    $self->{outbox}->add($topic, $data, $options, _now(), $self->is_up && $known && !$known->is_subscribed);
    $self->_schedule;
    $self->_expire_later if !$self->is_up;
    return 1;
}

# Somebody here wants a topic, the first one.
sub topic_used {
    my ($self, $name) = @_;
    return if $self->{is_closed} || $self->{owner} != $$ || $self->{topics}{$name};
    my @history = $self->_history_of($name);
    # The program's `history` may have closed us, or come here itself.
    return if $self->{is_closed} || $self->{topics}{$name};
    my $topic = $self->{topics}{$name} = EV::Websockets::Backplane::Topic->new(
        name => $name, owner => $self, history => \@history, is_late => $self->{is_told_down},
    );
    return if !$self->{redis}->is_found;
    Scalar::Util::weaken(my $weak = $self);
    $topic->subscribe(sub {
        $weak->{outbox}->release($name);
        $weak->_schedule;
    });
    return;
}

# The last one has left.
sub topic_unused {
    my ($self, $name) = @_;
    return if $self->{owner} != $$;
    # Somebody may have come again before we hear of it.
    my $context = $self->{context};
    return if $context && $context->subscribers($name);
    my $topic = delete $self->{topics}{$name} or return;
    $self->{outbox}->release($name);
    $self->_schedule;
    $topic->unsubscribe if $self->{redis}->is_found;
    $self->_looked($topic);
    return;
}

# What the program has said about a topic.
sub topic_set {
    my ($self, $name, $options) = @_;
    my $history = $self->{set}{$name} = [ $options->{history} // 0, _milliseconds($options->{max_age} // 0) ];
    my $topic = $self->{topics}{$name};
    $topic->{history} = $history if $topic;
    return;
}

# Where a topic stands here.
sub position {
    my ($self, $name) = @_;
    my $topic = $self->{topics}{$name};
    return $topic && defined $topic->{epoch} ? [ @$topic{qw(epoch offset)} ] : undef;
}

# A connection subscribes that has been here before.
sub resume { return EV::Websockets::Backplane::Subscriber::resume(@_) }

# ---- a turn of the loop ----

# What was published is sent before the loop waits.
sub _schedule {
    my ($self) = @_;
    return if !$self->is_up || $self->{sending};
    Scalar::Util::weaken(my $weak = $self);
    $self->{sending} = EV::prepare(sub {
        my $strong = $weak or return;
        delete $strong->{sending};
        $strong->_send if $strong->is_up;
    });
    return;
}

sub _send {
    my ($self, $again) = @_;
    # A program that flushes in `history` or on_refused would have a later batch overtake, and Redis skip what is older.
    return if $self->{is_sending};
    local $self->{is_sending} = 1;
    Scalar::Util::weaken(my $weak = $self);
    my $send = sub {
        my ($batch, @words) = @_;
        $self->{redis}->command(sub { $weak->_answered($batch, @_) }, @words);
        return $self->is_up;
    };
    my $script = $self->{redis}->script('publish');
    $self->{outbox}->send_again($script, $send) if $again;
    $self->{outbox}->send_waiting($script, $send) if $self->is_up;
    return;
}

# What Redis says while it cannot take anything from anybody. What it has refused otherwise it will refuse again.
my $PASSING = qr/\A(?:LOADING|READONLY|MASTERDOWN|OOM|MISCONF|NOREPLICAS|BUSY|NOSCRIPT|TRYAGAIN|CLUSTERDOWN|NOAUTH|NOPERM)\b/;

sub _answered {
    my ($self, $batch, $errors, $error) = @_;
    if (!defined $error) {
        $self->{outbox}->answered($batch, $errors);
    }
    elsif ($error =~ $PASSING) {
        $self->{redis}->lost($error);
    }
    else {
        $self->{outbox}->rejected($batch, $error);
    }
    $self->_flushed if $self->{flushing} && !$self->{outbox}->count;
    return;
}

# Nothing waits any more, or in vain.
sub _flushed {
    my ($self) = @_;
    my $callbacks = delete $self->{flushing} or return;
    $self->_call($_, $self->{outbox}->count) for @$callbacks;
    return;
}

# ---- the connection ----

# Redis is there. Returns the topics that are to be subscribed to.
sub redis_found {
    my ($self, $is_another) = @_;
    # Some may have got what this process was not answered for, and a Redis without memory would take it again.
    $self->{outbox}->give_up_sent('Redis has been restarted before it has confirmed it') if $is_another;
    my @topics = values %{ $self->{topics} };
    $self->{looking} = { map { $_->{name} => 1 } @topics };
    return @topics;
}

# What was on its way is sent when its own subscribers here will hear it.
sub redis_up {
    my ($self) = @_;
    for my $topic (values %{ $self->{topics} }) {
        my $method = $topic->is_subscribed ? 'release' : 'hold';
        $self->{outbox}->$method($topic->{name});
    }
    $self->_send(1);
    # The client may have died of it: what it could not send still expires.
    return if !$self->is_up;
    delete $self->{expiring};
    $self->_tell_up if $self->{looking} && !%{ $self->{looking} };
    return;
}

# on_up comes when what was missed is delivered, or told.
sub _tell_up {
    my ($self) = @_;
    return if $self->{is_told} || !$self->is_up;
    $self->{is_told} = 1;
    delete $self->{is_told_down};
    $self->_call('on_up');
    return;
}

sub topic_is_on {
    my ($self, $topic) = @_;
    return $self->_looked($topic);
}

sub _looked {
    my ($self, $topic) = @_;
    my $looking = $self->{looking} or return;
    delete $looking->{ $topic->{name} } or return;
    $self->_tell_up if !%$looking && $self->is_up;
    return;
}

sub redis_lost {
    my ($self, $reason) = @_;
    delete @$self{qw(is_told sending looking)};
    $self->{down_reason} = $reason;
    # on_missed may close us, which frees them.
    my @topics = values %{ $self->{topics} };
    $_->off for @topics;
    $self->_flushed;
    # The program may have closed it when it was told.
    return if $self->{is_closed};
    $self->_expire_later;
    $self->_call('on_down', $reason) if !$self->{is_told_down}++;
    return;
}

# Seconds that setting the system's time does not move, where there is such a clock.
my $is_monotonic = eval { Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) > 0 };
sub _now { return $is_monotonic ? Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) : EV::time() }

# While Redis is away, what is kept does not stay for ever.
sub _expire_later {
    my ($self) = @_;
    return if $self->{expiring} || !$self->{outbox}->count;
    Scalar::Util::weaken(my $weak = $self);
    my $every = $self->{max_pending_age} < 4 ? $self->{max_pending_age} / 4 : 1;
    $self->{expiring} = EV::timer($every, $every, sub {
        my $strong = $weak or return;
        $strong->{outbox}->expire(_now() - $strong->{max_pending_age}, "not confirmed: $strong->{down_reason}");
        delete $strong->{expiring} if !$strong->{outbox}->count;
    });
    return;
}

# ---- messages ----

sub redis_message {
    my ($self, $channel, $payload) = @_;
    my $prefix = $self->channel_of('');
    return if index($channel, $prefix) != 0;
    my $topic = $self->{topics}{ substr $channel, length $prefix } or return;
    my @envelope = EV::Websockets::Backplane::Wire::unpack_envelope($payload) or return;
    $topic->received(@envelope);
    return;
}

sub deliver {
    my ($self, $topic, $epoch, $offset, $message) = @_;
    my ($publisher, $number, $data, @options) = EV::Websockets::Backplane::Wire::unpack_message($message);
    my $context = $self->{context} or return;
    if ($publisher eq $self->{id}) {
        my $except = $self->{outbox}->take_except($number);
        push @options, except => $except if $except;
    }
    eval { $context->publish($topic, $data, local => 1, position => [ $epoch, $offset ], @options); 1 }
        or warn "EV::Websockets::Backplane: $@";
    return;
}

# What is known of a topic in Redis, and what was published since a position.
sub look {
    my ($self, $topic, $epoch, $offset, $count, $callback) = @_;
    my ($keep, $age) = $self->_history_of($topic);
    $self->{redis}->ask(sub { $callback->(@{ $_[0] }) },
        'EVALSHA', $self->{redis}->script('look'), 2, $self->_keys_of($topic),
        $self->{redis}->run, $self->_next_epoch, 1000 * $self->{expire}, $epoch, $offset, $count, $age);
    return;
}

sub gap {
    my ($self, $topic, $reason, $count) = @_;
    $self->_call('on_gap', $topic, $reason, $count);
    return;
}

# ---- what the program asks ----

sub is_up { return $_[0]{redis}->is_up ? 1 : 0 }

sub pending { return $_[0]{outbox}->count }

# Has what waits sent, and says when Redis has had it: to a program that is about to end.
sub flush {
    my ($self, $callback) = @_;
    Carp::croak('flush: the callback must be a code reference (got ' . EV::Websockets::Backplane::Settings::shown($callback) . ')')
        if ref $callback ne 'CODE';
    push @{ $self->{flushing} }, $callback;
    return $self->_flushed if !$self->is_up || !$self->{outbox}->count;
    $self->_send;
    return;
}

sub close {
    my ($self) = @_;
    return if $self->{is_closed}++;
    delete @$self{qw(is_told sending looking expiring)};
    $self->{redis}->close($self->{owner} != $$) if $self->{redis};
    $self->{topics} = {};
    my $context = $self->{context};
    # Another one may have come in its place.
    $context->set_backplane(undef) if $context && $self->{owner} == $$ && (Scalar::Util::refaddr($context->backplane) // 0) == Scalar::Util::refaddr($self);
    return;
}

sub _call {
    my ($self, $name, @arguments) = @_;
    my $callback = ref $name ? $name : $self->{$name};
    return if !$callback;
    $name = 'flush' if ref $name;
    local $@;
    eval { $callback->($self, @arguments); 1 } or warn "EV::Websockets::Backplane: $name: $@";
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if defined ${^GLOBAL_PHASE} && ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!);
    eval { $self->close };
    return;
}

1;
