package EV::Websockets::Backplane::Settings;

# What a Backplane is told when it is made.

use strict;
use warnings;
use 5.010;

use Carp ();
use EV::Websockets::Options;
use overload ();
use Scalar::Util ();

our @CARP_NOT = ('EV::Websockets::Backplane');

my @CALLBACKS = qw(on_up on_down on_gap on_refused on_missed);

# Names, what they are unless said otherwise, what they must be.
my $positive = [ sub { $_[0] =~ /\A[0-9]*\.?[0-9]+\z/ && $_[0] > 0 && $_[0] <= 1e6 }, 'a number of seconds above 0, at most 1000000' ];
my $whole    = [ sub { $_[0] =~ /\A[0-9]{1,15}\z/ && $_[0] > 0 }, 'a whole number above 0' ];
my %OPTIONS  = (
    prefix            => [ 'evws:', [ sub { EV::Websockets::Options::has_text($_[0]) && $_[0] !~ /[^\0-\xFF]/ }, 'a string of octets' ] ],
    while_down        => [ 'refuse', [ sub { $_[0] =~ /\A(?:refuse|keep)\z/ }, "'refuse' or 'keep'" ] ],
    max_pending       => [ 10_000, $whole ],
    max_pending_bytes => [ 16 * 1024 * 1024, $whole ],
    max_pending_age   => [ 60, [ sub { $positive->[0]->(@_) && $_[0] <= 43_200 }, 'a number of seconds above 0, at most 43200' ] ],
    max_message_size  => [ 4 * 1024 * 1024, [ sub { $whole->[0]->(@_) && $_[0] <= 16 * 1024 * 1024 }, 'a whole number above 0, at most 16777216' ] ],
    timeout           => [ 5, $positive ],
    ping_interval     => [ 10, $positive ],
    retry             => [ 0.5, $positive ],
    expire            => [ 7 * 86_400, [ sub { $_[0] =~ /\A[0-9]+\z/ && $_[0] >= 60 && $_[0] <= 1e9 }, 'a whole number of seconds, at least 60' ] ],
    durable           => [ 0, [ sub { 1 }, 'true or false' ] ],
    history           => [ 0, [ sub { ref $_[0] eq 'CODE' || $_[0] =~ /\A[0-9]{1,9}\z/ }, 'a whole number or a code reference' ] ],
);
my @KNOWN = (keys %OPTIONS, @CALLBACKS, 'redis', 'client');

# (\%settings, $client)
sub settings_of {
    my (@options) = @_;
    my %given = @options;
    for my $name (sort keys %given) {
        next if grep { $_ eq $name } @KNOWN;
        my $nearest = EV::Websockets::Options::_nearest($name, \@KNOWN);
        Carp::croak("new: unknown option '$name'" . (defined $nearest ? ": did you mean '$nearest'?" : ''));
    }
    my %settings;
    for my $name (keys %OPTIONS) {
        my ($default, $check) = @{ $OPTIONS{$name} };
        my $value = exists $given{$name} ? $given{$name} : $default;
        my ($is_right, $what) = @$check;
        # Of an object, what is checked is what is kept: the next time it may say something else.
        $value = "$value" if ref $value && ref $value ne 'CODE' && EV::Websockets::Options::has_text($value);
        Carp::croak("new: $name must be $what (got " . shown($value) . ')') if !defined $value || !$is_right->($value);
        $settings{$name} = ref $value eq 'CODE' ? $value : "$value";
    }
    for my $name (@CALLBACKS) {
        next if !defined $given{$name};
        Carp::croak("new: $name must be a code reference (got " . shown($given{$name}) . ')') if ref $given{$name} ne 'CODE';
        $settings{$name} = $given{$name};
    }
    utf8::downgrade($settings{prefix});
    return (\%settings, _client(@given{qw(redis client)}));
}

# A value as an error shows it.
sub shown {
    my ($value) = @_;
    return 'undef' if !defined $value;
    my $text = ref $value ? overload::StrVal($value) : "$value";
    $text = substr($text, 0, 60) . '...' if length $text > 63;
    $text =~ s/([^\x20-\x7E])/sprintf '\\x{%02x}', ord $1/ge;
    return "'$text'";
}

# What Redis is reached by: an object, or what a URL says.
sub _client {
    my ($redis, $class) = @_;
    Carp::croak('new: redis must be given: a URL, or an object that is a client') if !defined $redis;
    if (ref $redis) {
        my @lacking = grep { !Scalar::Util::blessed($redis) || !$redis->can($_) } qw(connect command subscribe unsubscribe disconnect);
        Carp::croak('new: redis must be a URL or an object with the methods of a client (got ' . shown($redis) . ", which has no $lacking[0])")
            if @lacking;
        Carp::croak("new: client is for a URL, and redis is an object") if defined $class;
        return $redis;
    }
    my $at = _parse_url($redis);
    my %adapter = ('AnyEvent::Redis' => 'AnyEventRedis', 'EV::Redis' => 'EVRedis');
    Carp::croak("new: client must be 'AnyEvent::Redis' or 'EV::Redis' (got " . shown($class) . ')')
        if defined $class && !$adapter{$class};
    my @classes = defined $class ? $class : $at->{tls} ? 'EV::Redis' : ('EV::Redis', 'AnyEvent::Redis');
    my @errors;
    for my $name (@classes) {
        my $module = "EV::Websockets::Backplane::$adapter{$name}";
        local $@;
        return $module->new(%$at) if eval "require $module; 1";
        push @errors, $@ =~ /\ACan't locate (\S+)\.pm in \@INC/ ? "$name is not installed" : "$name: $@";
    }
    Carp::croak('new: redis: there is no client: ' . join(', ', @errors));
}

sub _parse_url {
    my ($url) = @_;
    my $bad = sub {
        # A password is nobody's business.
        (my $public = $url) =~ s{//.*@}{//...@}s;
        Carp::croak('new: redis must be redis://[user:password@]host[:port][/database], rediss://... or redis+unix:/path (got '
            . shown($public) . ")$_[0]");
    };
    my $decode = sub {
        my ($text) = @_;
        return undef if !defined $text;
        utf8::downgrade($text, 1) or $bad->(': user, password and path are octets, and have characters beyond 255');
        $text =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
        return $text;
    };
    if ($url =~ m{\Aredis\+unix:(?://)?(/[^?]+)(?:\?db=([0-9]+))?\z}) {
        return { path => $decode->($1), database => $2 // 0 };
    }
    my ($scheme, $user, $password, $host, $port, $database) = $url =~
        m{\A(rediss?)://(?:([^:@/]*)(?::([^@/]*))?@)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?\#]+)(?::([0-9]+))?(?:/([0-9]*))?\z}
        or $bad->('');
    $bad->(": there is no port $port") if defined $port && ($port < 1 || $port > 65535);
    $host =~ s/\A\[(.*)\]\z/$1/;
    return {
        host     => $host,
        port     => $port // 6379,
        user     => defined $user && length $user ? $decode->($user) : undef,
        password => $decode->($password),
        database => length($database // '') ? $database : 0,
        tls      => $scheme eq 'rediss' ? 1 : 0,
    };
}

1;
