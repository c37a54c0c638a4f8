use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use Pair;
use Program;
use Run;

# Values that are legal Perl, and that few programs pass.

{
    package Text;
    use overload '""' => sub { $_[0][0] }, fallback => 1;
    package List;
    use overload '==' => sub { 1 }, fallback => 1;
    package Tied;
    sub TIESCALAR { my ($class, $value) = @_; return bless \$value, $class }
    sub FETCH { ${ $_[0] } }
    package TiedHash;
    require Tie::Hash;
    our @ISA = ('Tie::StdHash');
    sub FETCH { my ($self, $key) = @_; $self->{'?'} .= "$key "; return $self->{$key} }
}

sub text { return bless [ @_, 'and more that is not meant' ], 'Text' }

# The bug: an array was a list of names before anybody asked what it says it is.
subtest 'objects that are arrays, and a string' => sub {
    my $pair = Pair->open(
        listen  => { host => text('127.0.0.1'), protocol => text('chat') },
        connect => { protocol => text('chat, other'), headers => { 'X-Name' => text('one') } },
    );
    is $pair->c->get_protocol, 'chat', 'protocol';
    my ($listener) = $pair->context->listeners;
    is_deeply $listener->{hosts}, ['127.0.0.1'], 'host';
    is $pair->server->last_of('connect')->[0]{'X-Name'}, 'one', 'a header';

    $pair = Pair->open(
        listen  => { host => bless(['127.0.0.1'], 'List'), protocol => bless([ 'chat', 'talk' ], 'List') },
        connect => { protocol => bless(['talk'], 'Plain'), headers => { 'X-Name' => bless([ 'one', 'two' ], 'List') } },
    );
    is $pair->c->get_protocol, 'talk', 'without text an object is the list that it is';
    is $pair->server->last_of('connect')->[0]{'X-Name'}, 'one, two', '... in a header, too';
};

# The bug: new(undef) made an object of the class "main".
subtest 'the class of a new context' => sub {
    my $croak = qr/\Anew: the invocant must be the name of a class at \Q$0\E line/;
    croaks_like { EV::Websockets::Context::new(undef) } $croak, 'undef';
    croaks_like { EV::Websockets::Context::new('') } $croak, 'nothing';
    croaks_like { EV::Websockets::Context::new([]) } $croak, 'a reference';
    tie my $name, 'Tied', 'EV::Websockets::Context';
    isa_ok EV::Websockets::Context::new($name), 'EV::Websockets::Context', 'what a tied name makes';
};

# The bug: whether there is a value was asked before the value was fetched.
subtest 'a tied %ENV' => sub {
    delete local @ENV{ grep { /proxy\z/i } keys %ENV };
    my $neighbour = EV::Websockets::Context->new;
    my $port = $neighbour->listen(host => '127.0.0.1', on_handshake => sub { 1 });
    my %was = %ENV;
    tie %ENV, 'TiedHash';
    %ENV = (%was, http_proxy => "http://127.0.0.1:$port");
    my $context = EV::Websockets::Context->new;
    my $asked = tied(%ENV)->{'?'};
    untie %ENV;
    %ENV = %was;
    like $asked, qr/http_proxy /, 'is asked';
    my $text;
    my $conn = $context->connect(url => 'ws://192.0.2.1/', on_error => sub { $text = $_[1] });
    run_until(sub { $text }, 'a connection through a proxy that is none');
    like $text, qr/proxy/, '... which it was about';

    {
        tie my $tied, 'Tied', "http://127.0.0.1:$port";
        local *ENV = { %was };
        sub { tie $_[0], 'Tied', "http://127.0.0.1:$port" }->($ENV{http_proxy});
        $context = EV::Websockets::Context->new;
    }
    undef $text;
    $conn = $context->connect(url => 'ws://192.0.2.1/', on_error => sub { $text = $_[1] });
    run_until(sub { $text }, 'one variable that is tied');
    like $text, qr/proxy/, '... alike';

    tie my $proxy, 'Tied', 'socks5://[::1]:1081';
    is_deeply [ EV::Websockets::Context::_parse_proxy($proxy) ], [ '::1', 1081 ], '_parse_proxy';
};

# Perl code that runs in a call may use more of perl's stack than there is; what the call returns stands where its caller looks
# for it, and where it returns nothing, nothing does.
for my $kind (qw(tied overloaded)) {
    my $run = run_program(60, '-MEV', '-MEV::Websockets', '-e', <<'PROGRAM', $kind);
package Deep;
use overload '""' => sub { grow(); $_[0]{text} }, fallback => 1;
my $size = 1000;
sub grow { $size *= 3; my @some = map { $_ } (1) x $size; return scalar @some }
sub TIESCALAR { return bless { text => $_[1] }, $_[0] }
sub FETCH { grow(); return $_[0]{text} }
package main;
for my $text ('http://h:81', 'http://h:0', undef, '', 'h') {
    my $proxy;
    if ($ARGV[0] eq 'tied') { tie $proxy, 'Deep', $text }
    else { $proxy = bless { text => defined $text ? $text : '' }, 'Deep' }
    my @got = ('before', EV::Websockets::Context::_parse_proxy($proxy), 'after');
    print "@got\n";
}
PROGRAM
    is_deeply [ @$run{qw(out err status)} ],
        [ "before h 81 after\nbefore after\nbefore after\nbefore after\nbefore h 1080 after\n", '', 0 ],
        "_parse_proxy of a value that is $kind and moves the stack";
}

finish();
